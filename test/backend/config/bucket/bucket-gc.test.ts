import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { gcBucket } from '../../../../src/backend/config/bucket/bucket-gc.js';
import { s3Keys } from '../../../../src/backend/config/bucket/bucket-keys.js';
import type { StoredObject } from '../../../../src/backend/config/bucket/object-store.js';
import { CacheError, type ErrorCode } from '../../../../src/errors.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { MemoryStore } from '../../../support/object-store.js';

const HOUR = 3_600_000;
const KEYS = s3Keys({ type: 's3', attributes: {} });
const MANIFESTS = [KEYS.manifests];
const digestOf = (blob: string) => sha256(blob);
const keyOf = (blob: string) => `blobs/${digestOf(blob)}`;
const copyOf = (blob: string) => `blobs/.bkcache/quarantine/${digestOf(blob)}`;
const isClock = (key: string) => key.startsWith('blobs/.bkcache/clock');
const config = (blobs: readonly string[]) =>
  Buffer.from(JSON.stringify({ layers: blobs.map((blob) => ({ blob: digestOf(blob) })), records: [] }));

/** A bucket whose requests let others do something before each of them. */
class SharedStore extends MemoryStore {
  /** Called with the number of each request of gc. */
  onRequest: (number: number) => void = () => undefined;
  #count = 0;

  override async read(key: string) {
    this.#next();
    return super.read(key);
  }
  override async head(key: string) {
    this.#next();
    return super.head(key);
  }
  override list(prefix: string) {
    this.#next();
    return super.list(prefix);
  }
  override async put(key: string, bytes: AsyncIterable<Uint8Array>) {
    this.#next();
    return super.put(key, bytes);
  }
  override async copy(object: StoredObject, to: string) {
    this.#next();
    return super.copy(object, to);
  }
  override async remove(key: string) {
    this.#next();
    return super.remove(key);
  }

  #next(): void {
    this.onRequest(this.#count++);
  }
}

/**
 * What BuildKit's exporter asks for, a request at a time (cache/remotecache/s3/s3.go, Finalize): HEAD for each blob; PUT where
 * it is missing, a copy onto itself where it is older than touch_refresh; the name last.
 *
 * @returns after the last step whether it has succeeded
 */
function* exportCache(
  { objects, set }: BoundStore,
  blobs: readonly string[],
): Generator<undefined, boolean, undefined> {
  for (const blob of blobs) {
    const found = objects.get(keyOf(blob));
    yield;
    if (found === undefined) set(keyOf(blob), Buffer.from(blob));
    else if (Date.now() - found.modified > 24 * HOUR) {
      const source = objects.get(keyOf(blob));
      // NoSuchKey: the export fails, and says so.
      if (source === undefined) return false;
      set(keyOf(blob), source.bytes);
    } else continue;
    yield;
  }
  set('manifests/exported', config(blobs));
  return true;
}

interface BoundStore {
  readonly objects: MemoryStore['objects'];
  readonly set: (key: string, bytes: Uint8Array) => void;
}

/** An export that goes on step by step. */
class Running {
  hasExported = false;
  readonly #steps: Generator<undefined, boolean, undefined>;

  constructor(steps: Generator<undefined, boolean, undefined>) {
    this.#steps = steps;
  }

  /** @returns whether that was the last step */
  step(): boolean {
    const { done, value } = this.#steps.next();
    // After the end there are no values.
    if (value === true) this.hasExported = true;
    return done === true;
  }
}

const NEEDED = ['old', 'aged', 'young', 'absent', 'shared', 'both'];

function filled(): SharedStore {
  const store = new SharedStore();
  const add = (blob: string, hours: number, key = keyOf(blob)) =>
    store.set(key, Buffer.from(blob), Date.now() - hours * HOUR);
  for (const [blob, hours] of [
    ['old', 100],
    ['aged', 30],
    ['young', 20],
    ['shared', 500],
    ['garbage', 90],
    ['both', 70],
  ] as const)
    add(blob, hours);
  // Of an earlier gc.
  add('both', 10, copyOf('both'));
  add('absent', 60, copyOf('absent'));
  add('trash', 60, copyOf('trash'));
  store.set('manifests/main', config(['shared']));
  return store;
}

const gc = (store: MemoryStore, grace?: number) => gcBucket(store, KEYS, { manifests: MANIFESTS, grace });

/** Runs gc, and the steps of an export each before the request of gc with that number; what is left comes afterwards. */
async function interleaved(at: readonly number[]): Promise<{ store: SharedStore; hasExported: boolean }> {
  const store = filled();
  const running = new Running(
    exportCache({ objects: store.objects, set: (key, bytes) => store.set(key, bytes) }, NEEDED),
  );
  let taken = 0;
  store.onRequest = (number) => {
    for (; taken < at.length && (at[taken] ?? 0) <= number; taken++) if (running.step()) break;
  };
  await gc(store);
  store.onRequest = () => undefined;
  while (!running.step());
  return { store, hasExported: running.hasExported };
}

/** Every blob that the export relies on is there, or in quarantine, from where the next gc restores it. */
async function assertKept(t: ExecutionContext, at: readonly number[]): Promise<void> {
  const { store, hasExported } = await interleaved(at);
  if (!hasExported) return;
  const where = JSON.stringify(at);
  for (const blob of NEEDED) {
    t.true(store.objects.has(keyOf(blob)) || store.objects.has(copyOf(blob)), `${blob} is lost: ${where}`);
  }
  await gc(store);
  for (const blob of [...NEEDED, 'shared']) t.true(store.objects.has(keyOf(blob)), `${blob} is not restored: ${where}`);
}

test('an export at any point of a gc keeps its blobs: begun at one request, and gone on with at another', async (t) => {
  const steps = 14;
  for (let first = 0; first <= 45; first++) {
    for (let count = 1; count <= steps; count++) {
      for (let then = first; then <= 46; then += 3) {
        await assertKept(t, [...Array<number>(count).fill(first), ...Array<number>(steps - count).fill(then)]);
      }
    }
  }
});

test('an export at any point of a gc keeps its blobs: steps at random', async (t) => {
  const schedule = fc.array(fc.nat(50), { minLength: 14, maxLength: 14 }).map((at) => at.toSorted((a, b) => a - b));
  await fc.assert(
    fc.asyncProperty(schedule, (at) => assertKept(t, at)),
    { numRuns: 2000 },
  );
});

test('what no name needs goes to quarantine after the grace, and from there after another', async (t) => {
  const store = filled();
  const plan = await gcBucket(store, KEYS, { manifests: MANIFESTS, dryRun: true });
  t.false(store.requests.some((request) => /^(?:put|copy|delete|touch)/.test(request)));
  const result = await gc(store);
  t.deepEqual(result, plan);
  const gone = [copyOf('absent'), copyOf('trash'), keyOf('old'), keyOf('garbage'), keyOf('both')];
  t.deepEqual(result.paths.toSorted(), gone.map((key) => `memory://bucket/${key}`).toSorted());
  t.like(result, { removed: { count: 2 }, setAside: { count: 3 }, putBack: { count: 0 }, young: { count: 2 } });
  t.like(result.tags, { length: 1, 0: { tag: 'main', total: 6, shared: 0, exclusive: 6 } });
  for (const blob of ['aged', 'young', 'shared']) t.true(store.objects.has(keyOf(blob)));
  t.false([...store.objects.keys()].some(isClock));
  store.set('manifests/back', config(['old']));
  t.is((await gc(store)).putBack.count, 1);
  t.true(store.objects.has(keyOf('old')));
});

test('a blob that is touched before gc asks for it the last time stays, and needs no quarantine', async (t) => {
  const store = filled();
  store.onRequest = () => {
    if (store.requests.at(-1) === `copy ${keyOf('old')}`) store.set(keyOf('old'), Buffer.from('old'));
  };
  const { paths } = await gc(store);
  t.true(store.objects.has(keyOf('old')));
  t.false(paths.includes(`memory://bucket/${keyOf('old')}`));
});

test('a touch that gc has overlooked is made good before gc ends, or by the next gc', async (t) => {
  for (const when of ['during', 'after']) {
    const store = filled();
    const touch = () => store.set('manifests/exported', config(['old']));
    store.onRequest = () => {
      if (when === 'during' && store.requests.includes(`delete ${keyOf('old')}`)) touch();
    };
    const first = await gc(store);
    t.is(first.putBack.count, when === 'during' ? 1 : 0);
    t.is(first.setAside.count, when === 'during' ? 2 : 3);
    if (when === 'after') touch();
    store.onRequest = () => undefined;
    await gc(store);
    t.true(store.objects.has(keyOf('old')), when);
    t.false(store.objects.has(copyOf('old')), when);
  }
});

test('names are read again after blobs, and before each batch', async (t) => {
  const store = filled();
  for (let index = 0; index < 150; index++) store.set(keyOf(`${index}`), Buffer.from('x'), Date.now() - 99 * HOUR);
  const garbage = [...store.objects.keys()].filter((key) => key.startsWith('blobs/sha')).toSorted();
  const last = garbage.findLast((key) => ![keyOf('aged'), keyOf('young'), keyOf('shared')].includes(key)) ?? '';
  const layers = [{ blob: last.slice('blobs/'.length) }];
  store.onRequest = () => {
    const { length } = store.requests.filter((request) => request.startsWith('copy'));
    if (store.requests.at(-1) === 'list blobs/') store.set('manifests/early', config(['old']));
    if (length === 90) store.set('manifests/late', Buffer.from(JSON.stringify({ layers, records: [] })));
  };
  const { live } = await gc(store);
  t.is(live.count, 2, 'one that is needed since the listing');
  t.false(store.requests.includes(`copy ${keyOf('old')}`));
  t.false(store.requests.includes(`copy ${last}`), 'needed since the first batch');
});

test('caches under every prefix that gc is told of keep their blobs', async (t) => {
  const store = filled();
  store.set('other team/x', config(['old']));
  await gcBucket(store, KEYS, { manifests: ['other team/'] });
  for (const blob of ['old', 'shared']) t.true(store.objects.has(keyOf(blob)));
  t.false(store.objects.has(keyOf('garbage')));
});

test('gc deletes nothing where the clocks differ', async (t) => {
  const store = filled();
  store.onRequest = () => {
    for (const [key, { bytes }] of store.objects) if (isClock(key)) store.set(key, bytes, Date.now() + HOUR);
  };
  const before = new Map(store.objects);
  await t.throwsAsync(gc(store), { code: 'FAILED', message: /two clocks differ/ });
  t.deepEqual(store.objects, before);
});

test('gc deletes nothing where it does not know all that is needed', async (t) => {
  const refuse = async (change: (store: SharedStore) => void, code: ErrorCode) => {
    const store = filled();
    change(store);
    const before = new Map(store.objects);
    const error = await t.throwsAsync(gc(store), { instanceOf: CacheError });
    t.is(error.code, code);
    t.deepEqual(store.objects, before);
  };
  await refuse((store) => store.objects.delete('manifests/main'), 'CORRUPT');
  await refuse((store) => store.set('manifests/note', Buffer.from('{"layers":[{"blob"')), 'CORRUPT');
  await refuse((store) => {
    store.set('manifests/secret', Buffer.from('{}'));
    store.refused.add('manifests/secret');
  }, 'DENIED');
  for (const prefix of ['manifests/', 'blobs/']) {
    await refuse((store) => {
      store.pageSize = 1;
      store.set('manifests/more', config([]));
      store.cutListing = prefix;
    }, 'UNREACHABLE');
  }
  await t.throwsAsync(gc(filled(), 3 * HOUR), { code: 'USAGE' });
  await t.throwsAsync(gcBucket(filled(), KEYS, {}), { code: 'USAGE', message: /told of all names/ });
});
