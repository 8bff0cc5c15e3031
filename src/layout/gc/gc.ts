import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';
import { type AsideBlob, asideBlobs, forget, putBack } from './quarantine.js';
import { amount, type CollectResult } from './gc-result.js';
import { pruneConversions } from '../blobs/conversions.js';
import { syncFolder } from '../files/durable.js';
import type { Flock } from '../lock/flock.js';
import { isHeld } from '../lock/manifest-lease.js';
import { indexPath, indexReading, isWithoutIndex } from '../index/index-read.js';
import type { Layout } from '../layout.js';
import { emptyRemains, type Leftover, leftovers } from './leftovers.js';
import { withLock } from '../lock/lock.js';
import { moveAway } from './move-away.js';
import { LeaseReader } from '../workspace/lease-reader.js';
import { type Reached, References } from './mark.js';
import { inodeOfSame } from '../index/settled.js';
import { manifestsFirst, type StrayManifest, strayManifests } from './untagged-manifests.js';
import { type TagUsage, usageOf } from './usage.js';
import { isIngesting, type Listed, listedBlobs, newBlobs, writtenAfterwards } from './writers.js';

/** How long what nothing refers to is left alone, in milliseconds. */
const GRACE = 3_600_000;
// Between BuildKit's writing of a manifest and its entry in index.json, in milliseconds; it is less by far.
const UNTIL_TAGGED = 60_000;
// How far clocks may be apart, in milliseconds.
const SKEW = 60_000;
const TRIES = 3;

export interface CollectOptions {
  /** How long what nothing refers to is left alone after it was last touched, in milliseconds; an hour by default. */
  readonly grace?: number | undefined;
  /** Blobs that something referred to until now, and that need no grace therefore. */
  readonly former?: ReadonlySet<Digest>;
  readonly dryRun?: boolean | undefined;
  /** For a dry run: index.json as it will be, and the documents that will be written with it. */
  readonly planned?: Planned | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Planned {
  readonly manifests: readonly Descriptor[];
  readonly documents: readonly Document[];
}

/**
 * Removes the blobs that nothing needs: no entry of index.json, directly or through manifests and referrers, no running
 * bkcache, and nobody who touched them within the grace period; and what dead processes have left.
 *
 * BuildKit leaves no trace when an export finds a blob that is there already, and relies on it. Blobs are therefore
 * moved out of the way first, under the exclusive lock, so that a later export writes them anew. Where young blobs
 * without a manifest show that an export may be under way, they stay aside for the length of the grace period, and are
 * put back if that export turns out to need them.
 *
 * @throws CacheError CORRUPT when a manifest cannot be read, so that it is not known what it needs: nothing is deleted
 *   then. NOT_FOUND where there is no index.json, BUSY
 */
export async function collect(layout: Layout, options: CollectOptions = {}): Promise<CollectResult> {
  const { tryFlock } = await import('../lock/flock.js');
  for (let attempt = 1; ; attempt++) {
    const collection = new Collection(layout, options, tryFlock);
    try {
      await collection.look();
    } catch (error) {
      // Another process may be collecting what this one has just read of.
      if (!(error instanceof CacheError && error.code === 'CORRUPT') || attempt === TRIES) throw error;
      await sleep(50, undefined, { signal: options.signal });
      continue;
    }
    return options.dryRun === true ? collection.plan() : collection.run();
  }
}

class Collection {
  readonly #layout: Layout;
  readonly #options: CollectOptions;
  readonly #now = Date.now();
  readonly #cutoff: number;
  readonly #references: References;
  /** For manifests that nothing refers to: whether they can be read does not matter. */
  readonly #unneeded: References;
  readonly #leases: LeaseReader;
  readonly #tryFlock: Flock;
  readonly #live: Reached = new Map();
  /** What a manifest names that nothing refers to, and that stays since it was touched lately. */
  #sheltered: Reached = new Map();
  #blobs: readonly Listed[] = [];
  #tags: readonly TagUsage[] = [];
  #strays: readonly StrayManifest[] = [];
  #aside: readonly AsideBlob[] = [];
  #leftovers: readonly Leftover[] = [];
  /** Whether somebody may be writing here, without a lock and unknown to us. */
  #isBeingWritten = false;
  /** index.json as it was when it was last found out what is needed. */
  #indexBytes: Buffer | undefined;

  constructor(layout: Layout, options: CollectOptions, tryFlock: Flock) {
    this.#layout = layout;
    this.#options = options;
    this.#cutoff = this.#now - (options.grace ?? GRACE);
    this.#references = new References(layout.blobs, options.planned?.documents);
    this.#unneeded = new References(layout.blobs);
    this.#leases = new LeaseReader(layout.root, tryFlock);
    this.#tryFlock = tryFlock;
  }

  /** Finds out what is needed and what is there. */
  async look(): Promise<void> {
    const { planned, signal } = this.#options;
    const { root } = this.#layout;
    this.#aside = await asideBlobs(root);
    this.#leftovers = [...(await leftovers(root, this.#cutoff)), ...(await emptyRemains(root))];
    const manifests = planned?.manifests ?? (await this.#readIndex());
    await this.#keep(manifests);
    this.#blobs = withUnwritten(this.#layout, await listedBlobs(root), planned?.documents ?? [], this.#now);
    const sizes = new Map(this.#blobs.map(({ digest, size }) => [digest, size]));
    this.#tags = await usageOf(manifests, this.#references, sizes, signal);
    await this.#lookAtStrays();
  }

  async #readIndex(): Promise<readonly Descriptor[]> {
    try {
      const { bytes, index } = await indexReading(this.#layout, this.#options.signal);
      this.#indexBytes = bytes;
      return index.manifests;
    } catch (error) {
      if (!(await isWithoutIndex(this.#layout, error))) throw error;
      this.#indexBytes = undefined;
      return this.#untagged();
    }
  }

  /** The manifests that are there. Without an index.json they may be all that is left of its caches, and repair tags them. */
  async #untagged(): Promise<readonly Descriptor[]> {
    const blobs = await listedBlobs(this.#layout.root);
    const sizes = new Map(blobs.map(({ digest, size }) => [digest, size]));
    const manifests = await strayManifests(this.#layout.blobs, blobs, this.#options.signal);
    return manifests.map(({ digest }) => ({ mediaType: '', digest, size: sizes.get(digest) ?? 0 }));
  }

  /** What would be done. */
  plan(): CollectResult {
    const candidates = this.#candidates();
    const back = this.#aside.filter(({ digest, damaged }) => !damaged && this.#live.has(digest));
    const doomed = this.#aside.filter((blob) => !back.includes(blob) && this.#isOver(blob.since));
    return this.#result({ taken: candidates, doomed, back });
  }

  /** When it fails, what was moved stays aside for the next collection. */
  async run(): Promise<CollectResult> {
    const { root } = this.#layout;
    const moved: Moved = { taken: [], doomed: [], back: [] };
    for (const { remove } of this.#leftovers) await remove();
    await this.#moveAll(moved);
    await this.#settle(moved);
    await pruneConversions(root);
    await forget(root, [...moved.doomed, ...(this.#isBeingWritten ? [] : moved.taken)]);
    // The marks of what has just gone.
    for (const { remove } of await emptyRemains(root)) await remove();
    return this.#result(moved);
  }

  /** Adds what an index and the running processes need to what is kept. */
  async #keep(manifests: readonly Descriptor[], needed: readonly Digest[] = []): Promise<void> {
    await this.#references.reach(manifests, this.#live, { signal: this.#options.signal });
    await this.#keepAll([...needed, ...this.#leases.added(), ...(await this.#held())]);
    const [obstacle] = this.#references.obstacles;
    if (obstacle === undefined) return;
    const { message } = obstacle.error;
    throw new CacheError('CORRUPT', `nothing was deleted, since it is not known what is needed: ${message}`, {
      hint: '"bkcache verify" says what is wrong, and "bkcache repair" mends it',
      cause: obstacle.error,
    });
  }

  /** Keeps some blobs, and what they refer to. */
  async #keepAll(digests: readonly Digest[]): Promise<void> {
    await this.#reach(this.#references, digests, this.#live);
  }

  /** What some blobs refer to, themselves included, when nothing is lost if it is not known. */
  async #below(digests: readonly Digest[]): Promise<Reached> {
    const reached: Reached = new Map();
    await this.#reach(this.#unneeded, digests, reached);
    return reached;
  }

  async #reach(references: References, digests: readonly Digest[], reached: Reached): Promise<void> {
    const roots = digests.map((digest) => ({ digest }));
    await references.reach(roots, reached, { document: 'unknown', signal: this.#options.signal });
  }

  /** The manifests that no tag leads to and somebody is reading from. */
  async #held(): Promise<Digest[]> {
    const held: Digest[] = [];
    for (const { digest } of this.#strays) {
      if (!this.#live.has(digest) && (await isHeld(this.#layout.blobs.path(digest)))) held.push(digest);
    }
    return held;
  }

  /** Keeps the referrers of what is kept, and finds out whether the other young blobs belong to finished exports. */
  async #lookAtStrays(): Promise<void> {
    this.#strays = await strayManifests(this.#layout.blobs, this.#unreferenced(), this.#options.signal);
    await this.#keepAll(await this.#held());
    // Referrers can have referrers.
    for (let found = true; found;) {
      const isReferrer = ({ subject }: StrayManifest) => subject !== undefined && this.#live.has(subject);
      const roots = this.#strays.filter((stray) => isReferrer(stray) && !this.#live.has(stray.digest));
      found = roots.length > 0;
      await this.#keepAll(roots.map(({ digest }) => digest));
    }
    const strays = new Set(this.#strays.map(({ digest }) => digest));
    const manifests = this.#unreferenced().filter(({ digest }) => strays.has(digest));
    const wereTagged = manifests.filter(({ time }) => time < this.#now - UNTIL_TAGGED);
    const finished = await this.#below(wereTagged.map(({ digest }) => digest));
    const unfinished = this.#unreferenced().filter((blob) => !this.#isOld(blob) && !finished.has(blob.digest));
    const former = this.#unreferenced().filter(({ digest }) => this.#options.former?.has(digest) === true);
    const later = writtenAfterwards(former, strays, { cutoff: this.#cutoff, slack: UNTIL_TAGGED });
    this.#isBeingWritten = unfinished.length + later.length > 0 || (await isIngesting(this.#layout.root, this.#cutoff));
    const staying = manifests.filter((blob) => !this.#isOld(blob));
    this.#sheltered = await this.#below(staying.map(({ digest }) => digest));
  }

  /** Looks again: a writer may have come, or written its first blob, since this looked first. */
  async #isWrittenNow(): Promise<boolean> {
    const fresh = await newBlobs(this.#layout.root, this.#cutoff, this.#blobs);
    return fresh.some(({ digest }) => !this.#live.has(digest)) || isIngesting(this.#layout.root, this.#cutoff);
  }

  #unreferenced(): Listed[] {
    return this.#blobs.filter(({ digest }) => !this.#live.has(digest));
  }

  #candidates(): Listed[] {
    return this.#unreferenced().filter((blob) => this.#goes(blob));
  }

  #goes(blob: Listed): boolean {
    return this.#isOld(blob) && !this.#sheltered.has(blob.digest);
  }

  #isOld({ digest, time }: Listed): boolean {
    return this.#isOver(time) || this.#options.former?.has(digest) === true;
  }

  /** Whether the grace period is over for something of this time. Without one, times that are still to come mean nothing. */
  #isOver(time: number): boolean {
    return time <= this.#cutoff || (this.#options.grace === 0 && time > this.#now + SKEW);
  }

  async #moveAll(moved: Moved): Promise<void> {
    const { root, settings } = this.#layout;
    const { signal } = this.#options;
    const path = indexPath(this.#layout);
    const manifests = new Set(this.#strays.map(({ digest }) => digest));
    let candidates = await manifestsFirst(this.#candidates(), manifests, this.#unneeded, signal);
    const unneeded = new Set(this.#unreferenced().map(({ digest }) => digest));
    const options = {
      now: this.#now,
      manifests,
      leases: this.#leases,
      isUnneeded: (digest: Digest) => unneeded.has(digest) && !this.#live.has(digest),
      tryFlock: this.#tryFlock,
    };
    while (candidates.length > 0) {
      signal?.throwIfAborted();
      const batch = candidates;
      const moves = await withLock(
        path,
        'exclusive',
        () => (inodeOfSame(path, this.#indexBytes) === undefined ? undefined : moveAway(root, batch, options)),
        { timeout: settings.lockTimeout, signal },
      );
      if (moves !== undefined) {
        for (const taken of moves.taken) moved.taken.push(taken);
        candidates = candidates.slice(moves.seen);
        if (moves.needed.length > 0) await this.#keep([], moves.needed);
      }
      // Somebody has changed index.json: what they need is found out without the lock.
      else await this.#keep(await this.#readIndex());
      candidates = candidates.filter(({ digest }) => !this.#live.has(digest));
    }
    if (moved.taken.length > 0) this.#isBeingWritten ||= await this.#isWrittenNow();
  }

  /** Puts back what has come to be needed, and decides what goes for good. */
  async #settle(moved: Moved): Promise<void> {
    const { root, settings } = this.#layout;
    if (moved.taken.length + this.#aside.length === 0) return;
    await this.#keep(await this.#readIndex());
    for (const blob of moved.taken.filter(({ digest }) => this.#live.has(digest))) {
      putBack(root, blob);
      moved.taken.splice(moved.taken.indexOf(blob), 1);
    }
    for (const blob of this.#aside) {
      if (!blob.damaged && this.#live.has(blob.digest)) {
        putBack(root, blob);
        moved.back.push(blob);
      } else if (this.#isOver(blob.since)) moved.doomed.push(blob);
    }
    if (!settings.durable) return;
    const folders = new Set(moved.back.map(({ digest }) => dirname(this.#layout.blobs.path(digest))));
    for (const folder of folders) await syncFolder(folder);
  }

  #result({ taken, doomed, back }: Moved<Pick<AsideBlob, 'digest' | 'path' | 'size'>>): CollectResult {
    const live = this.#blobs.filter(({ digest }) => this.#live.has(digest));
    const young = this.#unreferenced().filter((blob) => !this.#goes(blob));
    return {
      removed: amount([...doomed, ...(this.#isBeingWritten ? [] : taken)]),
      setAside: amount(this.#isBeingWritten ? taken : []),
      putBack: amount(back),
      young: amount(young),
      leftovers: amount(this.#leftovers),
      live: amount([...live, ...back]),
      tags: this.#tags,
      paths: [
        ...taken.map(({ digest }) => this.#layout.blobs.path(digest)),
        ...[...doomed, ...this.#leftovers].map(({ path }) => path),
      ].toSorted(),
    };
  }
}

/** Blobs as they will be once some documents are written. */
function withUnwritten(
  layout: Layout,
  blobs: readonly Listed[],
  documents: readonly Document[],
  time: number,
): readonly Listed[] {
  const there = new Set(blobs.map(({ digest }) => digest));
  const unwritten = documents
    .filter(({ descriptor: { digest } }) => !there.has(digest))
    .map(({ descriptor: { digest, size } }) => ({ digest, path: layout.blobs.path(digest), size, inode: 0, time }));
  return [...blobs, ...unwritten];
}

interface Moved<Blob = AsideBlob> {
  readonly taken: Blob[];
  readonly doomed: Blob[];
  readonly back: Blob[];
}
