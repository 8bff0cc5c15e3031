import { randomBytes } from 'node:crypto';
import { parallel } from '../../../bytes/parallel.js';
import { CacheError } from '../../../errors.js';
import { type Digest, isDigest } from '../../../oci/digest.js';
import { amount } from '../../../layout/gc/gc-result.js';
import type { GcOptions, GcResult } from '../../cache-store.js';
import { blobKey, type BucketKeys, privateKeys, TOUCH_REFRESH } from './bucket-keys.js';
import { CONCURRENCY } from './bucket-source.js';
import { NeededBlobs } from './needed-blobs.js';
import type { ObjectStore, StoredObject } from './object-store.js';

/** Longer than touch_refresh by what the longest export takes; in milliseconds. */
const DEFAULT_BUCKET_GRACE = 2 * TOUCH_REFRESH;
/** How far the clock of the service may be off, in milliseconds. */
const CLOCK_TOLERANCE = 5 * 60_000;
const SECOND = 1000;
/** After how many blobs names are read again. */
const BATCH = 100;

/** The objects that a gc of a bucket deleted, moved or left alone. */
interface Swept {
  /** Blobs that were deleted: from quarantine, or at once without a grace. */
  readonly removed: StoredObject[];
  readonly quarantined: StoredObject[];
  readonly restored: StoredObject[];
  readonly young: StoredObject[];
  readonly live: StoredObject[];
}

interface Found {
  readonly digest: Digest;
  readonly object: StoredObject;
}

/**
 * Frees what no name needs, while builds may export. BuildKit's exporter relies on a blob without a request that would show
 * it, if the blob is younger than touch_refresh; it touches an older blob, and sends what is missing. So:
 *
 * - a blob goes only if it is older than touch_refresh and the longest export together, by the clock of the service: an
 *   export that has found it young has ended before the names were read;
 * - a copy of it is made first, and stays for the grace; the next gc restores what a name has come to need;
 * - the object is asked for just before it is deleted: one that was touched stays. A touch between these two requests is
 *   lost, and then the copy is restored.
 *
 * @throws CacheError USAGE; and before anything is deleted: for a listing that is not whole, a name that cannot be read, a
 *   bucket without a name, and a clock that is off
 */
export async function gcBucket(store: ObjectStore, keys: BucketKeys, options: GcOptions): Promise<GcResult> {
  const { manifests, grace = DEFAULT_BUCKET_GRACE } = options;
  if (manifests === undefined || manifests.length === 0) {
    throw new CacheError('USAGE', 'gc of a bucket has to be told of all names that use its blobs', {
      hint: `name each manifests_prefix that has caches over ${store.nameOf(keys.blobs)}: --manifests-prefix manifests/`,
    });
  }
  if (grace > 0 && grace <= TOUCH_REFRESH) {
    throw new CacheError(
      'USAGE',
      'the grace for a bucket has to be longer than touch_refresh, which is 24h by default',
      {
        hint: 'an export relies on younger blobs without touching them; 0 is for times without exports',
      },
    );
  }
  const prefixes = new Set([keys.manifests, ...manifests]);
  await using needed = new NeededBlobs(store, keys, [...prefixes], options.signal);
  const swept = await new Sweep(store, keys, needed, { ...options, grace }).run();
  const gone = [...swept.removed, ...swept.quarantined];
  return {
    removed: amount(swept.removed),
    setAside: amount(swept.quarantined),
    putBack: amount(swept.restored),
    young: amount(swept.young),
    leftovers: amount([]),
    live: amount(swept.live),
    tags: needed.usage(new Map(swept.live.map(({ key, size }) => [key.slice(keys.blobs.length), size]))),
    paths: gone.map(({ key }) => store.nameOf(key)),
  };
}

class Sweep {
  readonly #store: ObjectStore;
  readonly #keys: BucketKeys;
  readonly #needed: NeededBlobs;
  readonly #grace: number;
  readonly #dryRun: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #result: Swept = { removed: [], quarantined: [], restored: [], young: [], live: [] };

  constructor(
    store: ObjectStore,
    keys: BucketKeys,
    needed: NeededBlobs,
    { grace, dryRun = false, signal }: GcOptions & { readonly grace: number },
  ) {
    this.#store = store;
    this.#keys = keys;
    this.#needed = needed;
    this.#grace = grace;
    this.#dryRun = dryRun;
    this.#signal = signal;
  }

  async run(): Promise<Swept> {
    const cutoff = (await this.#now()) - this.#grace;
    const isOld = ({ object }: Found) => this.#grace === 0 || object.modified < cutoff;
    await this.#needed.read();
    const { blobs, copies } = await this.#list();
    // An export that has ended during the listing.
    await this.#needed.read();
    const garbage: Found[] = [];
    for (const blob of blobs) {
      if (this.#needed.has(blob.digest)) this.#result.live.push(blob.object);
      else if (isOld(blob)) garbage.push(blob);
      else this.#result.young.push(blob.object);
    }
    await this.#inBatches(copies, async (copy) => {
      if (this.#needed.has(copy.digest)) await this.#restore(copy);
      else if (isOld(copy)) await this.#free(copy);
    });
    await this.#inBatches(garbage, async (blob) => {
      if (this.#needed.has(blob.digest)) return;
      await (this.#grace === 0 ? this.#free(blob) : this.#quarantine(blob));
    });
    await this.#restoreNeeded();
    return this.#result;
  }

  /** The clock of the service, by an object that is written now; for a dry run that of this machine. */
  async #now(): Promise<number> {
    // Another gc may look at the time, too.
    const clock = `${privateKeys(this.#keys).clock}-${randomBytes(6).toString('hex')}`;
    const bytes = Buffer.from('the time of a gc\n');
    const here = Date.now();
    if (this.#dryRun) return here;
    await this.#store.put(clock, one(bytes), bytes.length, this.#signal);
    const answer = await this.#store.head(clock, this.#signal);
    await this.#store.remove(clock, this.#signal);
    if (answer.state === 'unknown') throw answer.problem;
    const there = answer.state === 'there' ? answer.value.modified : Number.NaN;
    if (Math.abs(there - here) <= CLOCK_TOLERANCE) return there;
    throw new CacheError('FAILED', `${this.#store.name}: nothing was deleted, since two clocks differ`, {
      hint: 'set the clock of this machine: ages of blobs count from the dates of the service',
      expected: new Date(here).toISOString(),
      found: Number.isNaN(there) ? undefined : new Date(there).toISOString(),
    });
  }

  async #list(): Promise<{ readonly blobs: Found[]; readonly copies: Found[] }> {
    const { quarantine } = privateKeys(this.#keys);
    const found = { blobs: [] as Found[], copies: [] as Found[] };
    for await (const page of this.#store.list(this.#keys.blobs, this.#signal)) {
      for (const object of page) {
        const isCopy = object.key.startsWith(quarantine);
        const digest = object.key.slice((isCopy ? quarantine : this.#keys.blobs).length);
        if (isDigest(digest)) (isCopy ? found.copies : found.blobs).push({ digest, object });
      }
    }
    return found;
  }

  async #inBatches(all: readonly Found[], task: (one: Found) => Promise<void>): Promise<void> {
    for (let start = 0; start < all.length; start += BATCH) {
      await this.#needed.read();
      await parallel(all.slice(start, start + BATCH), CONCURRENCY, this.#signal, (one) => task(one));
    }
  }

  /** Deletes an object for good, unless it has changed. */
  async #free({ object }: Found): Promise<void> {
    if (!this.#dryRun) {
      if (!(await this.#isUnchanged(object))) return;
      await this.#store.remove(object.key, this.#signal);
    }
    this.#result.removed.push(object);
  }

  async #quarantine({ digest, object }: Found): Promise<void> {
    if (!this.#dryRun) {
      const copy = `${privateKeys(this.#keys).quarantine}${digest}`;
      if (!(await this.#store.copy(object, copy, this.#signal))) return;
      if (!(await this.#isUnchanged(object))) return;
      await this.#store.remove(object.key, this.#signal);
    }
    this.#result.quarantined.push(object);
  }

  /** Restores from quarantine what an export has come to need in the time of this gc. */
  async #restoreNeeded(): Promise<void> {
    const { quarantined } = this.#result;
    if (quarantined.length === 0 || this.#dryRun) return;
    await this.#needed.read();
    const { quarantine } = privateKeys(this.#keys);
    const stay: StoredObject[] = [];
    await parallel(quarantined.splice(0), CONCURRENCY, this.#signal, async (object) => {
      const digest = object.key.slice(this.#keys.blobs.length);
      if (!isDigest(digest) || !this.#needed.has(digest)) stay.push(object);
      else await this.#restore({ digest, object: { ...object, key: `${quarantine}${digest}` } });
    });
    quarantined.push(...stay);
  }

  async #restore({ digest, object }: Found): Promise<void> {
    const key = blobKey(this.#keys, digest);
    const answer = await this.#store.head(key, this.#signal);
    if (answer.state === 'unknown') throw answer.problem;
    if (answer.state === 'missing') {
      if (!this.#dryRun && !(await this.#store.copy(object, key, this.#signal))) return;
      this.#result.restored.push(object);
    }
    if (!this.#dryRun) await this.#store.remove(object.key, this.#signal);
  }

  async #isUnchanged({ key, modified, size }: StoredObject): Promise<boolean> {
    const answer = await this.#store.head(key, this.#signal);
    if (answer.state === 'unknown') throw answer.problem;
    if (answer.state === 'missing' || answer.value.size !== size) return false;
    // Listings of some services count in milliseconds, and the answers to HEAD in seconds. A touch is hours younger.
    return Math.abs(answer.value.modified - modified) < SECOND;
  }
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield Promise.resolve(bytes);
}
