import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { gcBucket } from '../../../../src/backend/config/bucket/bucket-gc.js';
import { azblobKeys, s3Keys } from '../../../../src/backend/config/bucket/bucket-keys.js';
import { bucketStore } from '../../../../src/backend/config/bucket/bucket-store.js';
import { CacheError, type ErrorCode } from '../../../../src/errors.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { MemoryStore, untouched } from '../../../support/object-store.js';

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

  override asked(request: string): void {
    this.onRequest(this.#count++);
    super.asked(request);
  }
}

/** How exports go about blobs that they find: S3's touches old ones, Azure's none. */
type Service = 's3' | 'azblob';

/**
 * What BuildKit's exporter asks for, a request at a time: HEAD for each blob; PUT where it is missing; the name last. On S3 a
 * copy onto itself where a blob is older than touch_refresh (cache/remotecache/s3/s3.go, Finalize). In Azure no such thing, and
 * PUT fails where another writer was faster, which counts as written (cache/remotecache/azblob/exporter.go, Finalize).
 *
 * @returns after the last step whether it has succeeded
 */
function* exportCache(
  { objects, set }: BoundStore,
  blobs: readonly string[],
  service: Service,
): Generator<undefined, boolean, undefined> {
  for (const blob of blobs) {
    const found = objects.get(keyOf(blob));
    yield;
    if (found === undefined) {
      if (service === 's3' || !objects.has(keyOf(blob))) set(keyOf(blob), Buffer.from(blob));
    } else if (service === 's3' && Date.now() - found.modified > 24 * HOUR) {
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

interface Interleaving {
  readonly service: Service;
  readonly blobs: readonly string[];
  /** The request of gc before which each step of the export comes; later steps come when gc is done. */
  readonly at: readonly number[];
  readonly quarantine?: 'copy' | 'mark';
  readonly fill?: () => SharedStore;
}

/**
 * Runs an export between the requests of gc. Every blob that the export relies on is in its place or in quarantine then, from
 * where the next gc restores it.
 *
 * @returns how many requests the first gc sent
 */
async function assertKept(t: ExecutionContext, how: Interleaving): Promise<number> {
  const { service, blobs, at, quarantine = 'copy', fill = filled } = how;
  const store = fill();
  // A touch that comes between the last look and the deletion is restored from a copy, and there is none behind a mark.
  store.knowsConditions = quarantine === 'mark';
  const bucket = service === 's3' ? store : untouched(store);
  const run = () => gcBucket(bucket, KEYS, { manifests: MANIFESTS, quarantine });
  const running = new Running(
    exportCache({ objects: store.objects, set: (key, bytes) => store.set(key, bytes) }, blobs, service),
  );
  let taken = 0;
  let requests = 0;
  store.onRequest = (number) => {
    requests = number;
    for (; taken < at.length && (at[taken] ?? 0) <= number; taken++) if (running.step()) break;
  };
  await run();
  store.onRequest = () => undefined;
  while (!running.step());
  if (!running.hasExported) return requests;
  const where = JSON.stringify(how);
  for (const blob of blobs) {
    if (!store.objects.has(keyOf(blob)) && !store.objects.has(copyOf(blob))) t.fail(`${blob} is lost: ${where}`);
  }
  await run();
  for (const blob of [...blobs, 'shared'])
    if (!store.objects.has(keyOf(blob))) t.fail(`${blob} is not restored: ${where}`);
  return requests;
}

/** A bucket with one blob that nothing needs, in the state that the name says. */
function withOne(blob: string): SharedStore {
  const store = filled();
  for (const key of store.objects.keys()) {
    if (key.startsWith('blobs/') && !key.includes(digestOf(blob)) && key !== keyOf('shared')) store.objects.delete(key);
  }
  return store;
}

for (const [service, quarantine] of [
  ['s3', 'copy'],
  ['azblob', 'copy'],
  ['s3', 'mark'],
] as const) {
  test(`all interleavings of gc and an export keep the blob of the export: ${service}, ${quarantine}`, async (t) => {
    let tried = 0;
    for (const blob of NEEDED.filter((name) => name !== 'shared')) {
      const fill = () => {
        const store = withOne(blob);
        // Marked by an earlier gc, and due.
        const modified = store.objects.get(keyOf(blob))?.modified;
        if (quarantine === 'mark' && modified !== undefined) {
          store.set('blobs/.bkcache/marks/x', Buffer.from(`${digestOf(blob)} ${modified}\n`), Date.now() - 60 * HOUR);
        }
        return store;
      };
      const about = { service, quarantine, fill, blobs: [blob] };
      const last = (await assertKept(t, { ...about, at: [] })) + 2;
      // An export of one blob has three requests.
      for (let first = 0; first <= last; first++) {
        for (let second = first; second <= last; second++) {
          for (let third = second; third <= last; third++) {
            await assertKept(t, { ...about, at: [first, second, third] });
            tried++;
          }
        }
      }
    }
    t.true(tried > 1000);
  });
}

for (const service of ['s3', 'azblob'] as const) {
  test(`an export of several blobs at any point of a gc keeps them: ${service}`, async (t) => {
    const schedule = fc.array(fc.nat(50), { minLength: 14, maxLength: 14 }).map((at) => at.toSorted((a, b) => a - b));
    await fc.assert(
      fc.asyncProperty(schedule, async (at) => void (await assertKept(t, { service, blobs: NEEDED, at }))),
      { numRuns: 1000 },
    );
    t.pass();
  });
}

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
  for (let index = 0; index < 1100; index++) store.set(keyOf(`${index}`), Buffer.from('x'), Date.now() - 99 * HOUR);
  const garbage = [...store.objects.keys()].filter((key) => key.startsWith('blobs/sha')).toSorted();
  const last = garbage.findLast((key) => ![keyOf('aged'), keyOf('young'), keyOf('shared')].includes(key)) ?? '';
  const layers = [{ blob: last.slice('blobs/'.length) }];
  store.onRequest = () => {
    const { length } = store.requests.filter((request) => request.startsWith('copy'));
    if (store.requests.at(-1) === 'list blobs/') store.set('manifests/early', config(['old']));
    if (length === 900) store.set('manifests/late', Buffer.from(JSON.stringify({ layers, records: [] })));
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

test('gc names a prefix that has no cache, since the blobs of a misspelt one would be lost', async (t) => {
  const notes = async (...manifests: string[]) => (await gcBucket(filled(), KEYS, { manifests, dryRun: true })).notes;
  t.deepEqual(await notes(...MANIFESTS), []);
  t.deepEqual(await notes(...MANIFESTS, 'mainfests/'), [
    'there is no cache under memory://bucket/mainfests/: is --manifests-prefix spelt right?',
  ]);
});

test('a prefix that gc is told of stands below prefix=, as in an option string of that service', async (t) => {
  const old = Date.now() - 10 * 24 * HOUR;
  for (const [type, keysOf, blobs, name] of [
    ['s3', s3Keys, 'teamblobs/', 'teamother/x'],
    ['azblob', azblobKeys, 'team/blobs/', 'team/other/x'],
  ] as const) {
    const bucket = new MemoryStore();
    for (const blob of ['needed', 'garbage']) bucket.set(`${blobs}${digestOf(blob)}`, Buffer.from(blob), old);
    bucket.set(name, config(['needed']));
    await using store = bucketStore(bucket, keysOf, { type, attributes: { prefix: 'team' } });
    await store.gc?.({ manifests: ['other/'] });
    t.true(bucket.objects.has(`${blobs}${digestOf('needed')}`), type);
    t.false(bucket.objects.has(`${blobs}${digestOf('garbage')}`), type);
  }
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

test('a bucket without any name is emptied with --force alone', async (t) => {
  const store = filled();
  store.objects.delete('manifests/main');
  await t.throwsAsync(gc(store), { code: 'CORRUPT', message: /no name is there/ });
  const { setAside } = await gcBucket(store, KEYS, { manifests: MANIFESTS, force: true });
  t.is(setAside.count, 4);
  t.true(store.objects.has(keyOf('young')), 'an export may be about to write its name');
});

test('without room for copies blobs are marked, and deleted after the grace if nothing has touched them', async (t) => {
  const store = filled();
  store.knowsConditions = true;
  const marks = () => [...store.objects.keys()].filter((key) => key.startsWith('blobs/.bkcache/marks/'));
  const run = (more = {}) => gcBucket(store, KEYS, { manifests: MANIFESTS, quarantine: 'mark', ...more });
  const plan = await run({ dryRun: true });
  t.like(plan, { setAside: { count: 3 }, quarantine: 'mark' });
  t.is(marks().length, 0);
  t.deepEqual((await run()).setAside, plan.setAside);
  t.is(marks().length, 1);
  t.true(store.objects.has(keyOf('old')));
  t.false(store.requests.some((request) => request.startsWith('copy')));
  t.like(await run(), { setAside: { count: 3 }, removed: { count: 0 } }, 'within the grace');
  t.is(marks().length, 1, 'a mark is not made again');
  const [mark = ''] = marks();
  store.set(mark, store.objects.get(mark)?.bytes ?? Buffer.of(), Date.now() - 50 * HOUR);
  store.set(keyOf('old'), Buffer.from('old'), Date.now() - 49 * HOUR);
  store.set('manifests/back', config(['garbage']));
  t.like(await run(), { setAside: { count: 1 }, removed: { count: 1 } });
  t.false(store.objects.has(keyOf('both')));
  t.true(store.objects.has(keyOf('old')), 'touched since it was marked');
  t.true(store.objects.has(keyOf('garbage')), 'needed since it was marked');
  t.is(marks().length, 1, 'the old mark is gone, and the one that was touched is marked again');
  t.false(marks().includes(mark));
  await gc(store);
  t.is(marks().length, 0, 'a gc that copies needs no marks');
  await t.throwsAsync(gcBucket(untouched(store), KEYS, { manifests: MANIFESTS, quarantine: 'mark' }), {
    code: 'USAGE',
    message: /marks are no quarantine here/,
  });
});

test('what the service does not delete is named, and does not count as freed', async (t) => {
  const store = filled();
  store.locked.add(copyOf('trash'));
  store.retention = ['the bucket has versions'];
  const { removed, refused, notes } = await gc(store);
  t.is(removed.count, 1);
  t.deepEqual(refused, [{ path: `memory://bucket/${copyOf('trash')}`, reason: 'AccessDenied: it is locked' }]);
  t.deepEqual(notes, ['the bucket has versions']);
});

test('uploads of writers that ended long ago are aborted, and no others', async (t) => {
  const upload = (id: string, key: string, hours: number) => ({ id, key, begun: Date.now() - hours * HOUR });
  const store = filled();
  store.openUploads = [
    upload('dead', keyOf('x'), 60),
    upload('dead name', 'manifests/main', 60),
    upload('alive', keyOf('y'), 40),
    upload('of others', 'blobs/video.mp4', 600),
  ];
  t.is((await gcBucket(store, KEYS, { manifests: MANIFESTS, dryRun: true })).abortedUploads, 2);
  t.is(store.openUploads.length, 4);
  t.is((await gc(store)).abortedUploads, 2);
  t.deepEqual(
    store.openUploads.map(({ id }) => id),
    ['alive', 'of others'],
  );
});

test('what told the time to a gc that was killed is deleted, and not what tells it to another', async (t) => {
  const store = filled();
  store.set('blobs/.bkcache/clock-dead', Buffer.of(1), Date.now() - 60 * HOUR);
  store.set('blobs/.bkcache/clock-alive', Buffer.of(1));
  await gc(store);
  await gcBucket(store, KEYS, { manifests: MANIFESTS, grace: 0 });
  t.deepEqual([...store.objects.keys()].filter(isClock), ['blobs/.bkcache/clock-alive']);
});

test('copies in quarantine are deleted a thousand at once', async (t) => {
  const store = filled();
  for (let index = 0; index < 1500; index++) store.set(copyOf(`${index}`), Buffer.from('x'), Date.now() - 99 * HOUR);
  t.is((await gc(store)).removed.count, 1502);
  const deletions = store.requests.filter((request) => request.endsWith(' objects'));
  t.is(deletions.length, 2);
});
