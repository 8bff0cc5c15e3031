import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { sha256 } from '../../../src/oci/digest.js';
import { ClientGone } from '../../../src/serve/request.js';
import { blobPath } from '../../support/folders.js';
import { ServedFolder } from '../../support/served.js';

// The rules of the OCI distribution-spec 1.1 for pushes of blobs; each test is named after its section.

test('POST then PUT: 202 with a location, then 201 with that of the blob', async (t) => {
  const served = await ServedFolder.open(t);
  const post = await served.ask('POST', '/v2/team/app/blobs/uploads/');
  t.is(post.status, 202);
  const location = String(post.headers['location']);
  t.regex(location, /^\/v2\/team\/app\/blobs\/uploads\/[0-9a-f-]{36}$/);
  const put = await served.ask('PUT', `${location}?digest=${sha256('bytes')}`, { body: 'bytes' });
  t.is(put.status, 201);
  t.is(put.headers['location'], `/v2/team/app/blobs/${sha256('bytes')}`);
  t.is((await served.ask('GET', String(put.headers['location']))).body.toString(), 'bytes');
});

test('POST then PUT: every upload has a location of its own', async (t) => {
  const served = await ServedFolder.open(t);
  t.not(await served.open('team/app'), await served.open('team/app'));
});

test('Single POST: 201 with the location of the blob', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = sha256('bytes');
  const reply = await served.ask('POST', `/v2/team/app/blobs/uploads/?digest=${digest}`, { body: 'bytes' });
  t.deepEqual([reply.status, reply.headers['location']], [201, `/v2/team/app/blobs/${digest}`]);
});

test('Pushing blobs: a digest that does not fit, or cannot be checked, is 400 and leaves nothing', async (t) => {
  const served = await ServedFolder.open(t);
  for (const digest of [sha256('others'), 'sha256:abc', 'md5:d41d8cd98f00b204e9800998ecf8427e', 'x']) {
    const post = await served.ask('POST', `/v2/team/app/blobs/uploads/?digest=${digest}`, { body: 'bytes' });
    t.deepEqual([post.status, post.codes], [400, ['DIGEST_INVALID']], digest);
    const location = await served.open('team/app');
    const put = await served.ask('PUT', `${location}?digest=${digest}`, { body: 'bytes' });
    t.deepEqual([put.status, put.codes], [400, ['DIGEST_INVALID']], digest);
  }
  t.deepEqual(readdirSync(join(served.folder, 'blobs', 'sha256')), []);
  t.is((await served.ask('PUT', await served.open('team/app'), { body: 'bytes' })).status, 400);
});

test('Pushing a blob in chunks: each answer tells how far the upload is', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  const first = await served.ask('PATCH', location, { body: '01234', headers: { 'content-range': '0-4' } });
  t.deepEqual([first.status, first.headers['range']], [202, '0-4']);
  t.is(typeof first.headers['location'], 'string');
  const second = await served.ask('PATCH', location, { body: '567', headers: { 'content-range': '5-7' } });
  t.deepEqual([second.status, second.headers['range']], [202, '0-7']);
  const status = await served.ask('GET', location);
  t.deepEqual([status.status, status.headers['range'], status.headers['location']], [204, '0-7', location]);
  const put = await served.ask('PUT', `${location}?digest=${sha256('0123456789')}`, {
    body: '89',
    headers: { 'content-range': '8-9', 'content-length': '2' },
  });
  t.is(put.status, 201);
  t.is((await served.ask('GET', String(put.headers['location']))).body.toString(), '0123456789');
});

test('Pushing a blob in chunks: a chunk out of order is 416, the last PUT too, and the upload goes on', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  const chunk = (method: string, range: string, body: string, query = '') =>
    served.ask(method, `${location}${query}`, { body, headers: { 'content-range': range } });
  t.is((await chunk('PATCH', '3-5', '345')).status, 416);
  t.is((await chunk('PATCH', '0-4', '01234')).status, 202);
  for (const [range, body] of [
    ['0-4', '01234'],
    ['4-6', '456'],
    ['6-7', '67'],
  ] as const) {
    const reply = await chunk('PATCH', range, body);
    t.deepEqual([reply.status, reply.headers['range']], [416, '0-4'], range);
  }
  const query = `?digest=${sha256('0123456')}`;
  t.is((await chunk('PUT', '6-7', '67', query)).status, 416);
  t.is((await served.ask('GET', location)).headers['range'], '0-4');
  t.is((await chunk('PUT', '5-6', '56', query)).status, 201);
});

test('Pushing a blob in chunks: a range that is none, or has another length, is 400', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  const status = async (headers: Record<string, string>) =>
    (await served.ask('PATCH', location, { body: 'abc', headers })).status;
  t.is(await status({ 'content-range': 'all' }), 400);
  t.is(await status({ 'content-range': '0-9', 'content-length': '3' }), 400);
  t.is(await status({ 'content-range': 'bytes 0-2/*' }), 202);
});

test('Pushing a blob in chunks: without Content-Range, as Docker streams', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  t.is((await served.ask('PATCH', location, { body: 'one ' })).headers['range'], '0-3');
  t.is((await served.ask('PATCH', location, { body: 'two' })).headers['range'], '0-6');
  t.is((await served.ask('PUT', `${location}?digest=${sha256('one two')}`)).status, 201);
});

test('Pushing a blob in chunks: any cut of any bytes comes to the same blob', async (t) => {
  const served = await ServedFolder.open(t);
  const cuts = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(cuts, fc.boolean(), async (chunks, ranged) => {
      const location = await served.open('team/app');
      let at = 0;
      for (const body of chunks.filter(({ length }) => length > 0)) {
        const headers: Record<string, string> = ranged ? { 'content-range': `${at}-${at + body.length - 1}` } : {};
        t.is((await served.ask('PATCH', location, { body, headers })).status, 202);
        at += body.length;
      }
      const bytes = Buffer.concat(chunks);
      t.is((await served.ask('PUT', `${location}?digest=${sha256(bytes)}`)).status, 201);
      t.deepEqual((await served.ask('GET', `/v2/team/app/blobs/${sha256(bytes)}`)).body, bytes);
    }),
    { numRuns: 30 },
  );
});

test('Pushing a blob in chunks: sha512, announced or not', async (t) => {
  const served = await ServedFolder.open(t);
  for (const [bytes, query] of [
    ['announced', '?digest-algorithm=sha512'],
    ['not announced', ''],
  ] as const) {
    const digest = `sha512:${createHash('sha512').update(bytes).digest('hex')}`;
    const location = await served.open('team/app', query);
    await served.ask('PATCH', location, { body: bytes });
    t.is((await served.ask('PUT', `${location}?digest=${digest}`)).status, 201);
    t.is((await served.ask('GET', `/v2/team/app/blobs/${digest}`)).body.toString(), bytes);
  }
  t.is((await served.ask('POST', '/v2/team/app/blobs/uploads/?digest-algorithm=md5')).status, 400);
});

test('Pushing a blob in chunks: a client that goes away goes on where the bytes ended', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  const cut = async function* () {
    yield Buffer.from('0123');
    throw new ClientGone('gone');
  };
  await t.throwsAsync(served.ask('PATCH', location, { body: cut() }), { instanceOf: ClientGone });
  t.is((await served.ask('GET', location)).headers['range'], '0-3');
  await served.ask('PATCH', location, { body: '456', headers: { 'content-range': '4-6' } });
  t.is((await served.ask('PUT', `${location}?digest=${sha256('0123456')}`)).status, 201);
});

test('Cancel a blob upload: 204, and it is unknown from then on', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  await served.ask('PATCH', location, { body: 'abc' });
  t.is((await served.ask('DELETE', location)).status, 204);
  for (const method of ['GET', 'PATCH', 'PUT', 'DELETE']) {
    const reply = await served.ask(method, `${location}?digest=${sha256('abc')}`);
    t.deepEqual([reply.status, reply.codes], [404, ['BLOB_UPLOAD_UNKNOWN']], method);
  }
});

test('an upload belongs to its repository', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  t.is((await served.ask('PATCH', location.replace('team/app', 'team/b'), { body: 'abc' })).status, 404);
});

test('Mounting a blob from another repository: 201 with a location; 202 where it is not here', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = await served.pushBlob('team/app', 'bytes');
  const mount = await served.ask('POST', `/v2/team/b/blobs/uploads/?mount=${digest}&from=team/app`);
  t.deepEqual([mount.status, mount.headers['location']], [201, `/v2/team/b/blobs/${digest}`]);
  t.is((await served.ask('POST', `/v2/team/b/blobs/uploads/?mount=${digest}`)).status, 201);
  const missing = await served.ask('POST', `/v2/team/b/blobs/uploads/?mount=${sha256('x')}&from=team/app`);
  t.is(missing.status, 202);
  const location = String(missing.headers['location']);
  t.is((await served.ask('PUT', `${location}?digest=${sha256('x')}`, { body: 'x' })).status, 201);
  t.is((await served.ask('POST', '/v2/team/b/blobs/uploads/?mount=abc&from=team/app')).status, 400);
});

test('nothing of an upload is a blob before it is whole', async (t) => {
  const served = await ServedFolder.open(t);
  const digest = sha256('whole');
  const location = await served.open('team/app');
  await served.ask('PATCH', location, { body: 'who' });
  t.false(existsSync(blobPath(served.folder, digest)));
  t.is((await served.ask('HEAD', `/v2/team/app/blobs/${digest}`)).status, 404);
  await served.ask('PUT', `${location}?digest=${digest}`, { body: 'le' });
  t.true(existsSync(blobPath(served.folder, digest)));
});

test('the same blob, pushed many times at once, is there once and whole', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = 'x'.repeat(100_000);
  const digests = await Promise.all(Array.from({ length: 20 }, () => served.pushBlob('team/app', bytes)));
  t.deepEqual([...new Set(digests)], [sha256(bytes)]);
  t.is((await served.ask('GET', `/v2/team/app/blobs/${sha256(bytes)}`)).body.toString(), bytes);
  t.is(served.uploads.count, 0);
});

test('too many open uploads are 429 with Retry-After, until one ends or stands still', async (t) => {
  const served = await ServedFolder.open(t, { limits: { maxUploads: 2 } });
  const first = await served.open('team/app');
  await served.open('team/app');
  const refused = await served.ask('POST', '/v2/team/app/blobs/uploads/');
  t.deepEqual([refused.status, refused.codes], [429, ['TOOMANYREQUESTS']]);
  t.regex(String(refused.headers['retry-after']), /^\d+$/);
  await served.ask('DELETE', first);
  t.is((await served.ask('POST', '/v2/team/app/blobs/uploads/')).status, 202);
});

test('an upload that nobody goes on with expires, and its file goes', async (t) => {
  const served = await ServedFolder.open(t);
  const location = await served.open('team/app');
  await served.ask('PATCH', location, { body: 'abc' });
  const files = () => readdirSync(join(served.folder, '.bkcache')).filter((name) => name.includes('.'));
  t.is(files().length, 1);
  await served.uploads.expire(Date.now() + 3_500_000);
  t.is((await served.ask('GET', location)).status, 204);
  await served.uploads.expire(Date.now() + 3_700_000);
  t.is((await served.ask('GET', location)).status, 404);
  t.is(files().length, 0);
});

test('a blob over the limit is 413, whether its size was announced or not', async (t) => {
  const served = await ServedFolder.open(t, { limits: { maxBlobSize: 10 } });
  const body = 'more than ten';
  const url = `/v2/team/app/blobs/uploads/?digest=${sha256(body)}`;
  t.is((await served.ask('POST', url, { body })).status, 413);
  t.is((await served.ask('POST', url, { body, headers: { 'content-length': '13' } })).status, 413);
  const location = await served.open('team/app');
  t.is((await served.ask('PATCH', location, { body: '0123456789' })).status, 202);
  t.is((await served.ask('PATCH', location, { body: 'x' })).status, 413);
});

test('uploads that would fill the disk are 507', async (t) => {
  const served = await ServedFolder.open(t, { limits: { keepFree: Number.MAX_SAFE_INTEGER } });
  t.is((await served.ask('POST', '/v2/team/app/blobs/uploads/')).status, 507);
  const url = `/v2/team/app/blobs/uploads/?digest=${sha256('abc')}`;
  t.is((await served.ask('POST', url, { body: 'abc' })).status, 507);
});
