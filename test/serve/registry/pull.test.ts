import { writeFileSync, chmodSync } from 'node:fs';
import test from 'ava';
import { sha256 } from '../../../src/oci/digest.js';
import { OCI_MANIFEST } from '../../../src/oci/media-types.js';
import { blobPath } from '../../support/folders.js';
import { ServedFolder } from '../../support/served.js';

// The rules of the OCI distribution-spec 1.1 for pulls; each test is named after its section.

const UNKNOWN = `sha256:${'0'.repeat(64)}`;

test('Pulling manifests: a tag and a digest give the same bytes, with 200, type and digest', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app');
  await served.putManifest('team/app', 'v1', bytes);
  for (const reference of ['v1', sha256(bytes), sha256(bytes).replace(':', '%3A')]) {
    const reply = await served.ask('GET', `/v2/team/app/manifests/${reference}`);
    t.is(reply.status, 200);
    t.is(reply.body.toString(), bytes);
    t.is(reply.headers['content-type'], OCI_MANIFEST);
    t.is(reply.headers['docker-content-digest'], sha256(bytes));
    t.is(reply.headers['content-length'], `${bytes.length}`);
  }
});

test('Pulling manifests: what is not in the repository is 404', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushImage('team/app', 'v1');
  const unknown = async (path: string) => {
    const reply = await served.ask('GET', path);
    t.is(reply.status, 404, path);
    return reply.codes;
  };
  t.deepEqual(await unknown('/v2/team/app/manifests/v2'), ['MANIFEST_UNKNOWN']);
  t.deepEqual(await unknown(`/v2/team/app/manifests/${UNKNOWN}`), ['MANIFEST_UNKNOWN']);
  t.deepEqual(await unknown(`/v2/team/other/manifests/${digest}`), ['NAME_UNKNOWN']);
  t.deepEqual(await unknown('/v2/team/other/manifests/v1'), ['NAME_UNKNOWN']);
});

test('Pulling manifests: a layer is no manifest, in any repository', async (t) => {
  const served = await ServedFolder.open(t);
  await served.pushImage('team/app', 'v1', { layers: ['a layer'] });
  t.is((await served.ask('GET', `/v2/team/app/manifests/${sha256('a layer')}`)).status, 404);
});

test('Pulling manifests: neither a tag nor a digest, and no name of a repository, is 400', async (t) => {
  const served = await ServedFolder.open(t);
  for (const reference of ['-x', 'sha256:abc', 'a'.repeat(129), '%2e%2e', 'sha256:../../../etc/passwd']) {
    t.true([400, 404].includes((await served.ask('GET', `/v2/team/app/manifests/${reference}`)).status), reference);
  }
  for (const name of ['Team/App', 'team//app', '_x', 'a/%2e%2e/b', 'a'.repeat(300), 'a%00b', 'a/..%2fb']) {
    const reply = await served.ask('GET', `/v2/${name}/manifests/v1`);
    t.is(reply.status, 400, name);
    t.deepEqual(reply.codes, ['NAME_INVALID'], name);
  }
});

test('Pulling blobs: the bytes, with 200 and their digest; 404 for others', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushBlob('team/app', 'some bytes');
  const reply = await served.ask('GET', `/v2/team/app/blobs/${digest}`);
  t.is(reply.status, 200);
  t.is(reply.body.toString(), 'some bytes');
  t.is(reply.headers['docker-content-digest'], digest);
  const missing = await served.ask('GET', `/v2/team/app/blobs/${UNKNOWN}`);
  t.is(missing.status, 404);
  t.deepEqual(missing.codes, ['BLOB_UNKNOWN']);
  t.is((await served.ask('GET', '/v2/team/app/blobs/sha256:abc')).status, 400);
});

test('Pulling blobs: ranges as RFC 9110 has them', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushBlob('team/app', '0123456789');
  const range = async (text: string) => {
    const reply = await served.ask('GET', `/v2/team/app/blobs/${digest}`, { headers: { range: text } });
    return [reply.status, reply.body.toString(), reply.headers['content-range']];
  };
  t.deepEqual(await range('bytes=2-4'), [206, '234', 'bytes 2-4/10']);
  t.deepEqual(await range('bytes=2-'), [206, '23456789', 'bytes 2-9/10']);
  t.deepEqual(await range('bytes=-3'), [206, '789', 'bytes 7-9/10']);
  t.deepEqual(await range('bytes=8-99'), [206, '89', 'bytes 8-9/10']);
  t.deepEqual(await range('bytes=0-0'), [206, '0', 'bytes 0-0/10']);
  t.deepEqual(await range('bytes=10-'), [416, '', 'bytes */10']);
  t.deepEqual(await range('bytes=5-2'), [416, '', 'bytes */10']);
  t.deepEqual(await range('bytes=-0'), [416, '', 'bytes */10']);
  // Several ranges, and what is no range, may be overlooked.
  t.deepEqual(await range('bytes=0-1,4-5'), [200, '0123456789', undefined]);
  t.deepEqual(await range('lines=1-2'), [200, '0123456789', undefined]);
});

test('Pulling blobs: conditions on the entity tag, which is the digest', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushBlob('team/app', '0123456789');
  const status = async (headers: Record<string, string>) =>
    (await served.ask('GET', `/v2/team/app/blobs/${digest}`, { headers })).status;
  t.is(await status({ 'if-none-match': `"${digest}"` }), 304);
  t.is(await status({ 'if-none-match': `"x", W/"${digest}"` }), 304);
  t.is(await status({ 'if-none-match': '"x"' }), 200);
  t.is(await status({ 'if-match': '"x"' }), 412);
  t.is(await status({ 'if-match': `"${digest}"` }), 200);
  t.is(await status({ range: 'bytes=0-1', 'if-range': '"x"' }), 200);
  t.is(await status({ range: 'bytes=0-1', 'if-range': `"${digest}"` }), 206);
});

test('Checking if content exists in the registry: HEAD has 200, digest and size, and no body', async (t) => {
  const served = await ServedFolder.open(t);
  const manifest = await served.pushImage('team/app', 'v1', { layers: ['a layer'] });
  const blob = await served.ask('HEAD', `/v2/team/app/blobs/${sha256('a layer')}`);
  t.deepEqual([blob.status, blob.headers['content-length'], blob.body.length], [200, '7', 0]);
  t.is(blob.headers['docker-content-digest'], sha256('a layer'));
  for (const reference of ['v1', manifest]) {
    const reply = await served.ask('HEAD', `/v2/team/app/manifests/${reference}`);
    t.deepEqual([reply.status, reply.headers['docker-content-digest'], reply.body.length], [200, manifest, 0]);
    t.true(Number(reply.headers['content-length']) > 100);
  }
  t.is((await served.ask('HEAD', `/v2/team/app/blobs/${UNKNOWN}`)).status, 404);
  t.is((await served.ask('HEAD', '/v2/team/app/manifests/v2')).status, 404);
});

test('Determining Support: /v2/ is 200, and other methods and paths are told apart', async (t) => {
  const served = await ServedFolder.open(t);
  t.is((await served.ask('GET', '/v2/')).status, 200);
  t.is((await served.ask('GET', '/v2')).status, 200);
  const put = await served.ask('PUT', `/v2/team/app/blobs/${UNKNOWN}`);
  t.deepEqual([put.status, put.codes], [405, ['UNSUPPORTED']]);
  t.is((await served.ask('GET', '/v2/team/app/nothing')).status, 404);
  t.is((await served.ask('GET', '/v3/')).status, 404);
});

test('Error Codes: each error has a code of capital letters and a message', async (t) => {
  const served = await ServedFolder.open(t);
  const { body, headers } = await served.ask('GET', '/v2/team/app/manifests/v1');
  t.is(headers['content-type'], 'application/json');
  const { errors } = JSON.parse(body.toString()) as { errors: { code: string; message: string }[] };
  t.true(errors.length > 0);
  for (const { code, message } of errors) {
    t.regex(code, /^[A-Z_]+$/);
    t.not(message, '');
  }
});

test('a blob that verify has found to be damaged counts as missing, so that clients push it again', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushBlob('team/app', 'some bytes');
  const path = blobPath(served.folder, digest);
  chmodSync(path, 0o644);
  writeFileSync(path, 'other byte');
  const { KnownDamaged } = await import('../../../src/layout/blobs/known-damaged.js');
  await new KnownDamaged(served.folder).add(digest);
  t.is((await served.ask('HEAD', `/v2/team/app/blobs/${digest}`)).status, 404);
  t.is((await served.ask('GET', `/v2/team/app/blobs/${digest}`)).status, 404);
  await served.pushBlob('team/app', 'some bytes');
  t.is((await served.ask('GET', `/v2/team/app/blobs/${digest}`)).body.toString(), 'some bytes');
});
