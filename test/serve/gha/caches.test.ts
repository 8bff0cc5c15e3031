import { rmSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { blobKey, ENTRY_VERSION, indexKey } from '../../../src/backend/config/gha/cache-keys.js';
import { saveBare } from '../../../src/graph/bare.js';
import { sha256 } from '../../../src/oci/digest.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { prune } from '../../../src/operations/prune/prune.js';
import { resolveCache } from '../../../src/operations/resolve.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { collect } from '../../../src/bytes/collect.js';
import { storeName } from '../../../src/serve/gha/keys.js';
import { loadFixture } from '../../support/fixtures.js';
import { blobPath, OLD, setTimes } from '../../support/folders.js';
import { MAIN, PULL, ServedGha } from '../../support/served-gha.js';

const NAME = 'gha/app/refs/heads/main';

/** Exports a fixture as BuildKit does. */
async function exported(t: ExecutionContext, served: ServedGha, { ref = MAIN.ref, number = 1, scopes = [MAIN] } = {}) {
  const cache = await loadFixture('max-gzip');
  const layers = [...new Set(cache.graph.layers.map(({ blob }) => blob))];
  for (const digest of layers) {
    const blob = cache.graph.descriptors.get(digest);
    if (blob === undefined) throw new Error('a layer has no descriptor');
    const status = await served.save(blobKey(digest), await collect(cache.blob(blob).open()), { scopes });
    if (status !== 409) t.is(status, 200);
  }
  const { bytes } = saveBare(cache.graph);
  const status = await served.save(`${indexKey('app', ref)}${number}`, bytes, { scopes });
  return { bytes: Buffer.from(bytes), layers, status };
}

test('an index that is uploaded is a cache in the store under a name', async (t) => {
  const served = await ServedGha.open(t);
  const { bytes, status } = await exported(t, served);
  t.is(status, 200);
  t.true((await verifyFolder(served.folder)).sound);
  t.is((await resolveCache(`type=local,src=${served.folder},tag=${NAME}`)).mediaType.includes('manifest'), true);
  t.deepEqual(await served.load(indexKey('app', MAIN.ref).slice(0, -1)), [`${indexKey('app', MAIN.ref)}1`, bytes]);
});

test('the number of an index counts up, and a number that is here is taken', async (t) => {
  const served = await ServedGha.open(t);
  await exported(t, served);
  t.is((await exported(t, served)).status, 409);
  t.is((await exported(t, served, { number: 2 })).status, 200);
  t.is((await served.load(indexKey('app', MAIN.ref)))?.[0], `${indexKey('app', MAIN.ref)}2`);
});

test('a layer has to be the bytes of the digest in its key', async (t) => {
  const served = await ServedGha.open(t);
  t.is(await served.save(blobKey(sha256('good')), 'evil'), 412);
  t.is(await served.load(blobKey(sha256('good'))), undefined);
  t.is(await served.save(blobKey(sha256('good')), 'good'), 200);
  t.deepEqual(await served.load(blobKey(sha256('good'))), [blobKey(sha256('good')), Buffer.from('good')]);
});

test('layers are in the scopes of their caches: another branch has to bring its own', async (t) => {
  const served = await ServedGha.open(t);
  const { layers } = await exported(t, served);
  const [layer = sha256('')] = layers;
  const other = [{ ref: 'refs/heads/other', mayWrite: true }];
  t.truthy(await served.load(blobKey(layer), { scopes: PULL }));
  t.is(await served.load(blobKey(layer), { scopes: other }), undefined);
  const cache = await loadFixture('max-gzip');
  const key = `${indexKey('app', 'refs/heads/other')}1`;
  t.is(await served.save(key, saveBare(cache.graph).bytes, { scopes: other }), 412);
});

test('an index answers only while all its blobs are here, and another takes its place then', async (t) => {
  const served = await ServedGha.open(t);
  const { layers } = await exported(t, served);
  rmSync(blobPath(served.folder, layers[0] ?? ''), { force: true });
  t.is(await served.load(indexKey('app', MAIN.ref)), undefined);
  const key = `${indexKey('app', MAIN.ref)}1`;
  const { status } = await served.twirp('CreateCacheEntry', { key, version: ENTRY_VERSION });
  t.is(status, 200);
});

test('an index answers again once a missing blob is back', async (t) => {
  const served = await ServedGha.open(t);
  const { layers } = await exported(t, served);
  rmSync(blobPath(served.folder, layers[0] ?? ''), { force: true });
  t.is(await served.load(indexKey('app', MAIN.ref)), undefined);
  await exported(t, served);
  t.truthy(await served.load(indexKey('app', MAIN.ref)));
});

test('no two caches have one name in the store, whatever branches are called', (t) => {
  t.not(storeName('app', 'refs/heads/x/refs/heads/main'), storeName('app/refs/heads/x', 'refs/heads/main'));
  t.not(storeName('a/b', 'refs/x'), storeName('a%2Fb', 'refs/x'));
  t.is(storeName('app', MAIN.ref), NAME);
});

test('what is no cache of BuildKit, or names blobs that are not here, becomes none', async (t) => {
  const served = await ServedGha.open(t);
  const key = `${indexKey('app', MAIN.ref)}1`;
  t.is(await served.save(key, 'no JSON'), 412);
  const missing = {
    layers: [{ blob: sha256('x'), parent: -1, annotations: { mediaType: 'x', diffID: sha256('y'), size: 1 } }],
    records: [],
  };
  t.is(await served.save(key, JSON.stringify(missing)), 412);
  t.is(await served.load(key), undefined);
});

test('an index whose key is that of another scope is no cache of this one', async (t) => {
  const served = await ServedGha.open(t);
  const key = `${indexKey('app', MAIN.ref)}1`;
  t.is(await served.save(key, 'anything', { scopes: PULL }), 200);
  t.is(await served.load(key), undefined);
  t.deepEqual(await served.load(key, { scopes: PULL }), [key, Buffer.from('anything')]);
});

test('the signature of an index is kept as it is', async (t) => {
  const served = await ServedGha.open(t);
  const key = `${blobKey(sha256('an index'))}-sig`;
  t.is(await served.save(key, 'a bundle'), 200);
  t.deepEqual(await served.load(key), [key, Buffer.from('a bundle')]);
});

test('gc keeps what an export has sent, and the cache afterwards', async (t) => {
  const served = await ServedGha.open(t);
  t.is(await served.save(blobKey(sha256('a layer')), 'a layer'), 200);
  setTimes(`${served.folder}/blobs`, OLD);
  await collectGarbage(served.folder, { grace: 0 });
  t.truthy(await served.load(blobKey(sha256('a layer'))));
  await exported(t, served);
  setTimes(`${served.folder}/blobs`, OLD);
  await collectGarbage(served.folder, { grace: 0 });
  t.truthy(await served.load(indexKey('app', MAIN.ref)));
});

test('a cache that prune has made smaller still answers', async (t) => {
  const served = await ServedGha.open(t);
  await exported(t, served);
  const { shrunk } = await prune(served.folder, { maxSize: 6000, grace: 0 });
  t.true(shrunk.length > 0);
  const [, bytes] = (await served.load(indexKey('app', MAIN.ref))) ?? [];
  const { layers } = JSON.parse(bytes?.toString() ?? '{}') as { layers: { annotations?: object }[] };
  t.true(layers.length > 0);
  for (const { annotations } of layers) t.truthy(annotations);
});

test('a layer that is here is not taken again, in its scope', async (t) => {
  const served = await ServedGha.open(t);
  const { layers } = await exported(t, served);
  const [layer = sha256('')] = layers;
  t.is((await served.twirp('CreateCacheEntry', { key: blobKey(layer), version: ENTRY_VERSION })).status, 409);
});
