import { existsSync } from 'node:fs';
import test from 'ava';
import { sha256 } from '../../../src/oci/digest.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { blobPath, OLD, setTimes } from '../../support/folders.js';
import { ServedFolder } from '../../support/served.js';
import { join } from 'node:path';

// gc runs beside the server in another process; here it has a layout of its own in the same folder.

async function gc(served: ServedFolder): Promise<void> {
  setTimes(join(served.folder, 'blobs'), OLD);
  await collectGarbage(served.folder, { grace: 0 });
}

test('gc keeps a blob that was pushed until its manifest comes', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app', { layers: ['a layer'] });
  await gc(served);
  t.is((await served.putManifest('team/app', 'v1', bytes)).status, 201);
  await gc(served);
  t.true((await verifyFolder(served.folder)).sound);
});

test('gc keeps an upload that is under way', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  await served.ask('PATCH', location, { body: 'one ' });
  await gc(served);
  t.is((await served.ask('PUT', `${location}?digest=${sha256('one two')}`, { body: 'two' })).status, 201);
});

test('gc keeps an old blob that a client has found before it pushes a manifest', async (t) => {
  const served = await ServedFolder.open(t);
  await served.pushImage('team/app', 'v1', { layers: ['a layer'] });
  await served.ask('DELETE', '/v2/team/app/manifests/v1');
  // As after a restart: nobody remembers the push.
  const later = await ServedFolder.open(t, { folder: served.folder });
  await served.store[Symbol.asyncDispose]();
  t.is((await later.ask('HEAD', `/v2/team/app/blobs/${sha256('a layer')}`)).status, 200);
  await gc(later);
  t.true(existsSync(blobPath(later.folder, sha256('a layer'))));
  t.false(existsSync(blobPath(later.folder, sha256('{}'))));
});

test('gc keeps what a client pulls, when its tag goes meanwhile', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushImage('team/app', 'v1', { layers: ['a layer'] });
  const later = await ServedFolder.open(t, { folder: served.folder });
  await served.store[Symbol.asyncDispose]();
  await later.ask('GET', '/v2/team/app/manifests/v1');
  await later.pushImage('team/app', 'v1', { layers: ['another'] });
  await gc(later);
  t.is((await later.ask('GET', `/v2/team/app/manifests/${digest}`)).status, 200);
  t.is((await later.ask('GET', `/v2/team/app/blobs/${sha256('a layer')}`)).status, 200);
});

test('leases end by time, and gc then frees what nothing needs', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushBlob('team/app', 'abandoned');
  const { RecentBlobs } = await import('../../../src/serve/folder/recent.js');
  const { createLayout } = await import('../../../src/layout/create-layout.js');
  await using layout = await createLayout(served.folder);
  await using recent = new RecentBlobs(layout);
  await served.store[Symbol.asyncDispose]();
  const now = Date.now();
  await recent.keep('team/app', digest, now);
  await recent.expire(now + 19 * 60_000);
  await gc(served);
  t.true(existsSync(blobPath(served.folder, digest)));
  await recent.expire(now + 31 * 60_000);
  t.false(recent.has(digest, () => true));
  await gc(served);
  t.false(existsSync(blobPath(served.folder, digest)));
});

test('a referrer is kept with what it is about', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app');
  await served.putManifest('team/app', 'v1', bytes);
  const subject = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: sha256(bytes),
    size: bytes.length,
  };
  const referrer = await served.imageManifest('team/app', { layers: ['a signature'], subject });
  await served.putManifest('team/app', sha256(referrer), referrer);
  const later = await ServedFolder.open(t, { folder: served.folder });
  await served.store[Symbol.asyncDispose]();
  await gc(later);
  t.is((await later.ask('GET', `/v2/team/app/manifests/${sha256(referrer)}`)).status, 200);
  t.is((await later.ask('GET', `/v2/team/app/blobs/${sha256('a signature')}`)).status, 200);
});

test('a blob that was deleted by hand between its push and the manifest is reported, and nothing is tagged', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app', { layers: ['a layer'] });
  const { rmSync } = await import('node:fs');
  rmSync(blobPath(served.folder, sha256('a layer')), { force: true });
  const put = await served.putManifest('team/app', 'v1', bytes);
  t.deepEqual([put.status, put.codes], [400, ['MANIFEST_BLOB_UNKNOWN']]);
  t.is((await served.ask('GET', '/v2/team/app/manifests/v1')).status, 404);
});
