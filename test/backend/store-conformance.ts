import test, { type ExecutionContext } from 'ava';
import { locate, openStore } from '../../src/backend/backends.js';
import { type CacheStore, isUnread, type StoredBlob, type StoreEntry } from '../../src/backend/cache-store.js';
import { readPlace } from '../../src/backend/option-string.js';
import { CacheError } from '../../src/errors.js';
import type { Digest } from '../../src/oci/digest.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { collectGarbage, type GarbageOptions } from '../../src/operations/gc.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { listCaches } from '../../src/operations/list.js';
import { prune } from '../../src/operations/prune/prune.js';
import { repairFolder } from '../../src/operations/repair/repair.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { type RegistryAccess, Session } from '../../src/session.js';
import { importOf } from '../support/fixtures.js';

/** A place for caches that is empty at first. */
export interface StorePlace {
  /** What the exported functions are told. */
  readonly place: string;
  imports(tag: string): string;
  exports(tag: string): string;
  readonly access?: RegistryAccess;
  /** What gc of this place is told. */
  readonly gc?: Pick<GarbageOptions, 'manifestsPrefixes'>;
  /** Deletes a blob without the store. Left out where a test cannot do that. */
  lose?(digest: Digest): unknown;
}

/** What every place with many caches does, and what it says of what it cannot do. */
export function storeConformance(name: string, open: (t: ExecutionContext) => Promise<StorePlace>): void {
  const copy = (at: StorePlace, from: string, tag: string) =>
    copyCache({ imports: [from], exports: [at.exports(tag)], registry: at.access });
  const filled = async (t: ExecutionContext) => {
    const at = await open(t);
    for (const tag of ['main', 'feature']) await copy(at, importOf('grown', tag), tag);
    return at;
  };
  const storeOf = async (t: ExecutionContext, { place, access }: StorePlace): Promise<CacheStore> => {
    const session = new Session({ registry: access });
    const store = await openStore(await locate(await readPlace(place), 'import', session), session);
    t.teardown(async () => {
      await store[Symbol.asyncDispose]();
      await session[Symbol.asyncDispose]();
    });
    return store;
  };
  const namesIn = async (store: CacheStore) => (await store.entries()).flatMap(({ names }) => names).toSorted();
  const isWhole = async (at: StorePlace, tag: string) => {
    const { layers } = await inspectCache(at.imports(tag), { registry: at.access });
    return layers.every(({ problem }) => problem === undefined);
  };

  test(`${name}: what is in it is listed and verified`, async (t) => {
    const at = await filled(t);
    const rows = await listCaches(at.place, { registry: at.access });
    t.deepEqual(rows.map(({ tag = '', cache }) => `${tag} ${cache?.mode}`).toSorted(), ['feature max', 'main max']);
    t.like(await verifyFolder(at.place, { deep: true, registry: at.access }), { sound: true, tags: 2, findings: [] });
  });

  test(`${name}: a blob that is missing is found, for the tags that need it`, async (t) => {
    const at = await filled(t);
    const { layers } = await inspectCache(at.imports('feature'), { registry: at.access });
    const digest = layers.at(-1)?.digest;
    if (at.lose === undefined || digest === undefined) return t.pass('this place cannot lose a blob');
    await at.lose(digest);
    const { sound, findings } = await verifyFolder(at.place, { registry: at.access });
    t.false(sound);
    t.like(findings[0], { kind: 'missing', digest });
    t.true(findings[0]?.tags.includes('feature'));
    return undefined;
  });

  test(`${name}: names are removed together or not at all, and others stay`, async (t) => {
    const at = await filled(t);
    await copy(at, importOf('min-gzip'), 'other');
    const store = await storeOf(t, at);
    const error = await t.throwsAsync(async () => store.remove?.(['main', 'nobody']), { instanceOf: CacheError });
    t.is(error.code, 'NOT_FOUND');
    t.deepEqual(await namesIn(store), ['feature', 'main', 'other']);
    await store.remove?.(['main', 'other']);
    t.deepEqual(await namesIn(store), ['feature']);
    t.true(await isWhole(at, 'feature'));
  });

  test(`${name}: blobs are listed one after the other, where they can be listed`, async (t) => {
    const at = await filled(t);
    const store = await storeOf(t, at);
    if (store.blobs === undefined) return t.pass('it has no list of its blobs');
    const listed: StoredBlob[] = [];
    for await (const blob of store.blobs()) listed.push(blob);
    const { layers } = await inspectCache(at.imports('main'), { registry: at.access });
    for (const { digest, size } of layers)
      t.like(
        listed.find((blob) => blob.digest === digest),
        { size },
      );
    t.is(new Set(listed.map(({ digest }) => digest)).size, listed.length);
    return undefined;
  });

  test(`${name}: an entry that was replaced since it was read stays`, async (t) => {
    const at = await filled(t);
    const store = await storeOf(t, at);
    if (store.change === undefined) return t.pass('it changes no entries');
    const entry = entryOf(await store.entries(), 'main');
    const { exports } = await copy(at, importOf('min-gzip'), 'main');
    await store.change({ entries: [{ entry, to: undefined }], documents: [] });
    const now = entryOf(await store.entries(), 'main');
    t.like(exports[0]?.descriptor, { digest: now.descriptor.digest });
    await store.change({ entries: [{ entry: now, to: undefined }], documents: [] });
    t.deepEqual(await namesIn(store), ['feature']);
    return undefined;
  });

  test(`${name}: gc frees what no name needs, and nothing else; or says what frees it`, async (t) => {
    const at = await filled(t);
    const store = await storeOf(t, at);
    if (store.gc === undefined) return refused(t, () => collectGarbage(at.place));
    await store.remove?.(['main']);
    const plan = await collectGarbage(at.place, { ...at.gc, grace: 0, dryRun: true });
    const { removed, tags } = await collectGarbage(at.place, { ...at.gc, grace: 0 });
    t.true(removed.count > 0);
    t.deepEqual(plan.removed, removed);
    t.deepEqual(
      tags.map(({ tag }) => tag),
      ['feature'],
    );
    t.true(await isWhole(at, 'feature'));
    t.like(await verifyFolder(at.place), { sound: true, tags: 1, findings: [] });
    return undefined;
  });

  test(`${name}: prune drops names and shrinks caches as its dry run says; or says what does it instead`, async (t) => {
    const at = await filled(t);
    const store = await storeOf(t, at);
    if (store.change === undefined) return refused(t, () => prune(at.place, { untag: ['main'] }));
    const hasGc = store.gc !== undefined && store.freedBy === undefined;
    if (!hasGc) await refused(t, () => prune(at.place, { untag: ['main'], grace: 0 }));
    const policy = { untag: ['main'], maxSize: 5000, ...(hasGc ? { grace: 0 } : {}) };
    const { collected: freed, requests: _, ...plan } = await prune(at.place, { ...policy, dryRun: true });
    t.deepEqual(await namesIn(store), ['feature', 'main']);
    const { collected, requests: __, ...done } = await prune(at.place, policy);
    t.deepEqual(done, plan);
    t.deepEqual(collected?.removed, freed?.removed);
    t.deepEqual([collected !== undefined, done.notFreed !== undefined], [hasGc, !hasGc]);
    t.like(done, { dropped: [{ tag: 'main' }] });
    if (store.hasQuota === true) t.deepEqual(done.shrunk, [], 'what a cache needs stays');
    else {
      t.like(done, { shrunk: [{ tag: 'feature' }], unmet: [] });
      t.true(done.size <= 5000);
    }
    t.true(done.size < done.sizeBefore);
    t.deepEqual(await namesIn(store), ['feature']);
    t.true(await isWhole(at, 'feature'));
    t.true((await verifyFolder(at.place, { deep: true })).sound);
    return undefined;
  });

  test(`${name}: repair fetches a blob that is missing; or says what does it instead`, async (t) => {
    const at = await filled(t);
    const store = await storeOf(t, at);
    const { layers } = await inspectCache(at.imports('feature'), { registry: at.access });
    const digest = layers.at(-1)?.digest;
    if (store.repair === undefined || at.lose === undefined || digest === undefined) {
      return refused(t, () => repairFolder(at.place));
    }
    await at.lose(digest);
    const { actions, sound } = await repairFolder(at.place, { from: [importOf('grown', 'feature')] });
    t.like(actions, { length: 1, 0: { type: 'fetched', digest } });
    t.true(sound);
    return undefined;
  });
}

/** What a place cannot do is wrong usage, and the hint says what does it. */
async function refused(t: ExecutionContext, run: () => Promise<unknown>): Promise<void> {
  const error = await t.throwsAsync(run, { instanceOf: CacheError });
  t.is(error.code, 'USAGE');
  t.truthy(error.hint);
}

function entryOf(entries: Awaited<ReturnType<CacheStore['entries']>>, tag: string): StoreEntry {
  const found = entries.find(({ names }) => names.includes(tag));
  if (found === undefined || isUnread(found)) throw new Error(`there is no entry ${tag}`);
  return found;
}
