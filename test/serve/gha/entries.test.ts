import { createHmac } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { MAIN, PULL, ServedGha } from '../../support/served-gha.js';

const V = 'version of a test';
const TWIRP = '/twirp/github.actions.results.api.v1.CacheService/';
const OTHER = [{ ref: 'refs/heads/other', mayWrite: true }];

test('an entry that was saved comes back, by its key and by the beginning of the key', async (t) => {
  const served = await ServedGha.open(t);
  t.is(await served.save('npm-1', 'archive 1', { version: V }), 200);
  t.is(await served.save('npm-2', 'archive 2', { version: V }), 200);
  t.deepEqual(await served.load('npm-1', { version: V }), ['npm-1', Buffer.from('archive 1')]);
  t.deepEqual(await served.load('npm-9', { version: V, restore: ['npm-'] }), ['npm-2', Buffer.from('archive 2')]);
  t.is(await served.load('pip-', { version: V }), undefined);
  t.is(await served.load('npm-1', { version: 'another' }), undefined);
});

test('an exact key wins over a longer one that is newer', async (t) => {
  const served = await ServedGha.open(t);
  await served.save('npm', 'exact', { version: V });
  await served.save('npm-newer', 'longer', { version: V });
  t.deepEqual(await served.load('npm', { version: V }), ['npm', Buffer.from('exact')]);
});

test('a scope reads its own entries first, then those of the default branch, and no others', async (t) => {
  const served = await ServedGha.open(t);
  await served.save('npm-exact', 'of main', { version: V });
  await served.save('npm-b', 'of another branch', { version: V, scopes: OTHER });
  t.deepEqual(await served.load('npm-exact', { version: V, scopes: PULL }), ['npm-exact', Buffer.from('of main')]);
  t.is(await served.load('npm-b', { version: V, scopes: PULL }), undefined);
  await served.save('npm-exact-longer', 'of the pull request', { version: V, scopes: PULL });
  const own = await served.load('npm-exact', { version: V, scopes: PULL });
  t.deepEqual(own, ['npm-exact-longer', Buffer.from('of the pull request')]);
});

test('a pull request writes to its own scope alone: main never reads it', async (t) => {
  const served = await ServedGha.open(t);
  t.is(await served.save('npm-1', 'poison', { version: V, scopes: PULL }), 200);
  t.is(await served.load('npm-1', { version: V }), undefined);
  t.is(await served.save('npm-1', 'good', { version: V }), 200);
  t.deepEqual(await served.load('npm-1', { version: V }), ['npm-1', Buffer.from('good')]);
});

test('an entry is never changed, and a key under way is taken', async (t) => {
  const served = await ServedGha.open(t);
  await served.save('npm-1', 'first', { version: V });
  const taken = await served.twirp('CreateCacheEntry', { key: 'npm-1', version: V });
  t.deepEqual([taken.status, taken.json['code']], [409, 'already_exists']);
  t.is((await served.twirp('CreateCacheEntry', { key: 'npm-2', version: V })).status, 200);
  t.is((await served.twirp('CreateCacheEntry', { key: 'npm-2', version: V })).status, 409);
  t.is((await served.twirp('CreateCacheEntry', { key: 'npm-2', version: V }, OTHER)).status, 200);
  await served.reservations.expire(Date.now() + 11 * 60_000);
  t.is((await served.twirp('CreateCacheEntry', { key: 'npm-2', version: V })).status, 200);
});

test('nothing answers before it is whole', async (t) => {
  const served = await ServedGha.open(t);
  const { json } = await served.twirp('CreateCacheEntry', { key: 'npm-1', version: V });
  await served.ask('PUT', String(json['signed_upload_url']), { body: 'abc' });
  t.is(await served.load('npm-1', { version: V }), undefined);
  const finalize = (size: unknown) =>
    served.twirp('FinalizeCacheEntryUpload', { key: 'npm-1', version: V, size_bytes: size });
  t.is((await finalize(4)).status, 400);
  t.is(await served.load('npm-1', { version: V }), undefined);
  const { status, json: done } = await finalize('3');
  t.deepEqual([status, done['ok'], typeof done['entry_id']], [200, true, 'string']);
  t.deepEqual(await served.load('npm-1', { version: V }), ['npm-1', Buffer.from('abc')]);
});

test('blocks come in any order, with any ids, and again; the list tells their order', async (t) => {
  const served = await ServedGha.open(t);
  const { json } = await served.twirp('CreateCacheEntry', { key: 'npm-1', version: V });
  const url = String(json['signed_upload_url']);
  const ids = ['b+/=', 'YQ==', 'x'.repeat(80)];
  const block = async (id: string, body: string) =>
    (await served.ask('PUT', `${url}&comp=block&blockid=${encodeURIComponent(id)}`, { body })).status;
  const list = async (all: readonly string[]) => {
    const body = `<?xml version="1.0" encoding="utf-8"?><BlockList>${all.map((id) => `<Latest>${id}</Latest>`).join('')}</BlockList>`;
    return (await served.ask('PUT', `${url}&comp=blocklist`, { body })).status;
  };
  t.is(await block(ids[2] ?? '', 'three'), 201);
  t.is(await block(ids[0] ?? '', 'wrong'), 201);
  t.is(await block(ids[1] ?? '', 'two '), 201);
  t.is(await block(ids[0] ?? '', 'one '), 201);
  t.is(await list(['unknown']), 400);
  t.is(await list(ids), 201);
  t.is((await served.twirp('FinalizeCacheEntryUpload', { key: 'npm-1', version: V, size_bytes: 13 })).status, 200);
  t.deepEqual(await served.load('npm-1', { version: V }), ['npm-1', Buffer.from('one two three')]);
  t.deepEqual(
    readdirSync(join(served.folder, '.bkcache')).filter((name) => name.includes('.')),
    [],
  );
});

test('version 1: chunks in any order, an entry, and 204 where there is none', async (t) => {
  const served = await ServedGha.open(t);
  const headers = { authorization: `Bearer ${served.token()}` };
  const at = '/_apis/artifactcache';
  const json = (value: object) => ({ body: JSON.stringify(value), headers });
  const { status, json: reserved } = await served.ask('POST', `${at}/caches`, json({ key: 'npm-1', version: V }));
  t.is(status, 201);
  const id = Number(reserved['cacheId']);
  const chunk = async (range: string, body: string) =>
    (await served.ask('PATCH', `${at}/caches/${id}`, { body, headers: { ...headers, 'content-range': range } })).status;
  t.is(await chunk('bytes 3-5/*', 'def'), 204);
  t.is((await served.ask('POST', `${at}/caches/${id}`, json({ size: 6 }))).status, 400);
  t.is(await chunk('bytes 0-2/*', 'abc'), 204);
  t.is(await chunk('bytes 0-9/*', 'abc'), 400);
  t.is(await chunk('all', 'abc'), 400);
  t.is(await chunk('bytes 0-2/*', 'abc'), 204);
  t.is((await served.ask('POST', `${at}/caches/${id}`, json({ size: 7 }))).status, 400);
  t.is((await served.ask('POST', `${at}/caches/${id}`, json({ size: 6 }))).status, 204);
  const found = await served.ask('GET', `${at}/cache?keys=none,npm-&version=${encodeURIComponent(V)}`, { headers });
  t.like(found.json, { cacheKey: 'npm-1', scope: MAIN.ref });
  const location = String(found.json['archiveLocation']);
  const part = await served.ask('GET', location, { headers: { range: 'bytes=2-3' } });
  t.deepEqual([part.status, part.body.toString(), part.headers['content-range']], [206, 'cd', 'bytes 2-3/6']);
  t.is((await served.ask('GET', `${at}/cache?keys=none&version=x`, { headers })).status, 204);
  const again = await served.ask('POST', `${at}/caches`, json({ key: 'npm-1', version: V }));
  t.deepEqual([again.status, again.json['typeKey']], [409, 'ArtifactCacheItemAlreadyExistsException']);
});

test('an upload of version 1 belongs to its scope', async (t) => {
  const served = await ServedGha.open(t);
  const at = '/_apis/artifactcache/caches';
  const as = (scopes: Parameters<ServedGha['token']>[0]) => ({ authorization: `Bearer ${served.token(scopes)}` });
  const body = JSON.stringify({ key: 'npm-1', version: V });
  const { json } = await served.ask('POST', at, { body, headers: as([MAIN]) });
  const headers = { ...as(PULL), 'content-range': 'bytes 0-2/*' };
  t.is((await served.ask('PATCH', `${at}/${Number(json['cacheId'])}`, { body: 'abc', headers })).status, 404);
});

test('no token, a token without scopes and claims that nobody signed grant nothing', async (t) => {
  const served = await ServedGha.open(t);
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = {
    iss: 'bkcache',
    jti: 'x',
    nbf: 0,
    exp: 4e9,
    grants: [],
    ac: '[{"Scope":"refs/heads/main","Permission":3}]',
  };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  const forged = `${signed}.${createHmac('sha256', 'guess').update(signed).digest('base64url')}`;
  const unsigned = `${encode({ alg: 'none', typ: 'JWT' })}.${encode(claims)}.`;
  for (const token of ['', forged, unsigned, served.tokens.sign([{ action: 'write', repositories: ['*'] }], 60_000)]) {
    const headers: Record<string, string> = token === '' ? {} : { authorization: `Bearer ${token}` };
    const body = JSON.stringify({ key: 'npm-1', version: V });
    t.is((await served.ask('POST', `${TWIRP}CreateCacheEntry`, { body, headers })).status, 401);
    t.is((await served.ask('GET', '/_apis/artifactcache/cache?keys=a&version=b', { headers })).status, 401);
    t.is((await served.ask('POST', '/_apis/artifactcache/caches', { body, headers })).status, 401);
  }
});

test('a token that only reads, and a read-only server, write nothing', async (t) => {
  const served = await ServedGha.open(t);
  const reading = [{ ...MAIN, mayWrite: false }];
  const denied = await served.twirp('CreateCacheEntry', { key: 'npm-1', version: V }, reading);
  t.is(denied.status, 403);
  t.regex(String(denied.json['msg']), /^cache write denied/);
  const readOnly = await ServedGha.open(t, { isReadOnly: true });
  t.is((await readOnly.twirp('CreateCacheEntry', { key: 'npm-1', version: V })).status, 403);
});

test('a signed address grants one blob, one method, and for minutes', async (t) => {
  const served = await ServedGha.open(t);
  await served.save('npm-1', 'archive', { version: V });
  const found = await served.twirp('GetCacheEntryDownloadURL', { key: 'npm-1', version: V });
  const url = String(found.json['signed_download_url']);
  t.is((await served.ask('GET', url)).status, 200);
  t.is((await served.ask('HEAD', url)).headers['content-length'], '7');
  t.is((await served.ask('PUT', url, { body: 'x' })).status, 403);
  t.is((await served.ask('DELETE', url)).status, 405);
  t.is((await served.ask('GET', url.replace(/sha256%3A../, 'sha256%3A00'))).status, 403);
  t.is((await served.ask('GET', url.replace(/se=\d/, 'se=9'))).status, 403);
  t.is((await served.ask('GET', url.replace(/sig=./, 'sig=_'))).status, 403);
  t.is((await served.ask('GET', url.split('?')[0] ?? '')).status, 403);
  const digest = /sha256%3A\w+/.exec(url)?.[0].replace('%3A', ':') ?? '';
  const [path = '', query = ''] = served.urls.sign('', 'read', digest, Date.now() - 20 * 60_000).split('?');
  t.is((await served.ask('GET', `${path}?${query}`)).status, 403);
  const { json } = await served.twirp('CreateCacheEntry', { key: 'npm-2', version: V });
  const upload = String(json['signed_upload_url']);
  t.regex(upload, /^http:\/\/cache\.test\/bkcache\/uploads\/[\w-]+\?/);
  t.is((await served.ask('GET', upload)).status, 403);
  t.is((await served.ask('PUT', upload, { body: 'x' })).headers['x-ms-request-id'] === undefined, false);
});

test('requests that are no such are refused', async (t) => {
  const served = await ServedGha.open(t);
  t.is((await served.twirp('DeleteCacheEntry', { key: 'a', version: V })).status, 404);
  for (const value of [
    {},
    { key: 'a' },
    { key: '', version: V },
    { key: 'a,b', version: V },
    { key: 'a'.repeat(513), version: V },
    { key: 1, version: V },
  ]) {
    t.is((await served.twirp('CreateCacheEntry', value)).status, 400, JSON.stringify(value).slice(0, 40));
  }
  const headers = { authorization: `Bearer ${served.token()}` };
  t.is((await served.ask('POST', `${TWIRP}CreateCacheEntry`, { body: 'no JSON', headers })).status, 400);
  t.is((await served.ask('POST', `${TWIRP}CreateCacheEntry`, { body: 'x'.repeat(300_000), headers })).status, 413);
});

test('the least recently used entries go when the store is too large', async (t) => {
  const served = await ServedGha.open(t, { maxSize: 250_000 });
  for (const name of ['a', 'b', 'c']) t.is(await served.save(`npm-${name}`, name.repeat(100_000), { version: V }), 200);
  let left: unknown;
  for (let waited = 0; waited < 5000; waited += 50) {
    left = await served.load('npm-a', { version: V });
    if (left === undefined) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.is(left, undefined);
  t.truthy(await served.load('npm-c', { version: V }));
});
