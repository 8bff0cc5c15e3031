import test from 'ava';
import { sha256 } from '../../../src/oci/digest.js';
import { OCI_INDEX, OCI_MANIFEST } from '../../../src/oci/media-types.js';
import { entriesOf } from '../../support/folders.js';
import { ServedFolder } from '../../support/served.js';

// The rules of the OCI distribution-spec 1.1 for deletions; each test is named after its section.

test('Deleting tags: 202, and then 404; other tags of the manifest stay', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushImage('team/app', 'v1');
  await served.pushImage('team/app', 'v2');
  t.is((await served.ask('DELETE', '/v2/team/app/manifests/v1')).status, 202);
  t.is((await served.ask('GET', '/v2/team/app/manifests/v1')).status, 404);
  t.is((await served.ask('GET', '/v2/team/app/manifests/v2')).status, 200);
  t.is((await served.ask('GET', `/v2/team/app/manifests/${digest}`)).status, 200);
  t.is((await served.ask('DELETE', '/v2/team/app/manifests/v1')).status, 404);
});

test('Deleting tags: a client that pulls the manifest by its digest can end that', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushImage('team/app', 'v1');
  await served.ask('DELETE', '/v2/team/app/manifests/v1');
  t.deepEqual(entriesOf(served.folder), []);
  t.is((await served.ask('GET', `/v2/team/app/manifests/${digest}`)).status, 200);
});

test('Deleting Manifests: 202, and then neither the digest nor a tag is found', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushImage('team/app', 'v1');
  await served.pushImage('team/app', 'latest');
  await served.pushImage('team/other', 'v1');
  t.is((await served.ask('DELETE', `/v2/team/app/manifests/${digest}`)).status, 202);
  for (const reference of [digest, 'v1', 'latest']) {
    t.is((await served.ask('GET', `/v2/team/app/manifests/${reference}`)).status, 404, reference);
  }
  t.is((await served.ask('GET', `/v2/team/other/manifests/${digest}`)).status, 200);
  t.is((await served.ask('DELETE', `/v2/team/app/manifests/${digest}`)).status, 404);
});

test('Deleting Manifests: an unknown repository is 404', async (t) => {
  const served = await ServedFolder.open(t);
  for (const reference of ['v1', sha256('x')]) {
    const reply = await served.ask('DELETE', `/v2/team/app/manifests/${reference}`);
    t.deepEqual([reply.status, reply.codes], [404, ['NAME_UNKNOWN']]);
  }
});

test('Deleting Manifests: a manifest that an index of the repository needs stays, with 405', async (t) => {
  const served = await ServedFolder.open(t);
  const child = await served.imageManifest('team/app');
  await served.putManifest('team/app', sha256(child), child);
  const manifests = [{ mediaType: OCI_MANIFEST, digest: sha256(child), size: child.length }];
  const index = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  await served.putManifest('team/app', 'v1', index);
  t.is((await served.ask('DELETE', `/v2/team/app/manifests/${sha256(child)}`)).status, 405);
  t.is((await served.ask('DELETE', `/v2/team/app/manifests/${sha256(index)}`)).status, 202);
  t.is((await served.ask('DELETE', `/v2/team/app/manifests/${sha256(child)}`)).status, 202);
  t.is((await served.ask('GET', `/v2/team/app/manifests/${sha256(child)}`)).status, 404);
});

test('Deleting Blobs: 405, since gc alone knows who needs a blob', async (t) => {
  const served = await ServedFolder.open(t);
  await served.pushImage('team/app', 'v1', { layers: ['a layer'] });
  const reply = await served.ask('DELETE', `/v2/team/app/blobs/${sha256('a layer')}`);
  t.deepEqual([reply.status, reply.codes], [405, ['UNSUPPORTED']]);
  t.is((await served.ask('GET', `/v2/team/app/blobs/${sha256('a layer')}`)).status, 200);
});
