import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, isSystemError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Document } from '../oci/manifest.js';
import { type AsideBlob, asideBlobs, forget, putBack, setAside } from './aside.js';
import { amount, type CollectResult } from './collected.js';
import { syncPath } from './durable.js';
import { isHeld } from './hold.js';
import { lockedIndex, readIndex } from './index-file.js';
import type { Layout } from './layout.js';
import { leftovers } from './leftovers.js';
import { type Reached, References } from './reach.js';
import { type StrayManifest, strayManifests } from './stray-manifests.js';
import { type TagUsage, usageOf } from './usage.js';
import { readWorkspaces } from './workspace.js';
import { isIngesting, type Listed, listedBlobs, newBlobs, writtenAfterwards } from './writers.js';

/** How long what nothing refers to is left alone, in milliseconds. */
export const GRACE = 3_600_000;
// Between BuildKit's writing of a manifest and its entry in index.json, in milliseconds; it is less by far.
const UNTIL_TAGGED = 60_000;
// How far clocks may be apart, in milliseconds.
const SKEW = 60_000;
// How many files are moved while the lock is held: a few milliseconds.
const BATCH = 100;
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
  for (let attempt = 1; ; attempt++) {
    const collection = new Collection(layout, options);
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
  readonly #live: Reached = new Map();
  #blobs: readonly Listed[] = [];
  #tags: readonly TagUsage[] = [];
  #strays: readonly StrayManifest[] = [];
  #aside: readonly AsideBlob[] = [];
  #leftovers: Awaited<ReturnType<typeof leftovers>> = [];
  /** Whether somebody may be writing here, without a lock and unknown to us. */
  #isBeingWritten = false;

  constructor(layout: Layout, options: CollectOptions) {
    this.#layout = layout;
    this.#options = options;
    this.#cutoff = this.#now - (options.grace ?? GRACE);
    this.#references = new References(layout.blobs, options.planned?.documents);
  }

  /** Finds out what is needed and what is there. */
  async look(): Promise<void> {
    const { planned, signal } = this.#options;
    const { root } = this.#layout;
    this.#aside = await asideBlobs(root);
    this.#leftovers = await leftovers(root, this.#cutoff);
    const index = planned ?? (await readIndex(this.#layout, signal));
    await this.#keep(index);
    this.#blobs = this.#withUnwritten(await listedBlobs(root), planned?.documents ?? []);
    const sizes = new Map(this.#blobs.map(({ digest, size }) => [digest, size]));
    this.#tags = await usageOf(index.manifests, this.#references, sizes, signal);
    await this.#lookAtStrays();
  }

  /** As it will be once the documents are written. */
  #withUnwritten(blobs: readonly Listed[], documents: readonly Document[]): Listed[] {
    const there = new Set(blobs.map(({ digest }) => digest));
    const unwritten = documents.map(({ descriptor: { digest, size } }) => ({
      digest,
      path: this.#layout.blobs.path(digest),
      size,
      inode: 0,
      time: this.#now,
    }));
    return [...blobs, ...unwritten.filter(({ digest }) => !there.has(digest))];
  }

  /** What would be done. */
  plan(): CollectResult {
    const candidates = this.#candidates();
    const back = this.#aside.filter(({ digest, damaged }) => !damaged && this.#live.has(digest));
    const doomed = this.#aside.filter((blob) => !back.includes(blob) && blob.since <= this.#cutoff);
    return this.#result({ taken: candidates, doomed, back });
  }

  /** When it fails, what was moved stays aside for the next collection. */
  async run(): Promise<CollectResult> {
    const moved: Moved = { taken: [], doomed: [], back: [] };
    for (const { remove } of this.#leftovers) await remove();
    await this.#moveAll(moved);
    await forget(this.#layout.root, [...moved.doomed, ...(this.#isBeingWritten ? [] : moved.taken)]);
    return this.#result(moved);
  }

  /** Adds what an index and the running processes need to what is kept. */
  async #keep({ manifests }: { readonly manifests: readonly Descriptor[] }): Promise<void> {
    const { signal } = this.#options;
    await this.#references.reach(manifests, this.#live, { signal });
    const { pinned, hidden } = await readWorkspaces(this.#layout.root);
    const pins = Array.from(pinned, (digest) => ({ digest }));
    await this.#references.reach(pins, this.#live, { document: 'unknown', signal });
    await this.#references.reach(await this.#held(), this.#live, { document: 'unknown', signal });
    const [obstacle] = this.#references.obstacles;
    if (obstacle !== undefined) {
      const { message } = obstacle.error;
      throw new CacheError('CORRUPT', `nothing was deleted, since it is not known what is needed: ${message}`, {
        hint: '"bkcache verify" says what is wrong, and "bkcache repair" mends it',
        cause: obstacle.error,
      });
    }
    if (hidden[0] !== undefined) {
      throw new CacheError(
        'FAILED',
        `nothing was deleted: ${hidden[0]} says what a process needs, and is not readable`,
        {
          hint: 'run it as the user who writes to this folder, or as root',
        },
      );
    }
  }

  /** The manifests that no tag leads to and somebody is reading from. */
  async #held(): Promise<{ readonly digest: Digest }[]> {
    const held: { readonly digest: Digest }[] = [];
    for (const { digest } of this.#strays) {
      if (!this.#live.has(digest) && (await isHeld(this.#layout.blobs.path(digest)))) held.push({ digest });
    }
    return held;
  }

  /** Keeps the referrers of what is kept, and finds out whether the other young blobs belong to finished exports. */
  async #lookAtStrays(): Promise<void> {
    const { signal } = this.#options;
    const strays = await strayManifests(this.#layout.blobs, this.#unreferenced(), signal);
    this.#strays = strays;
    // Referrers can have referrers.
    for (let found = true; found;) {
      const isReferrer = ({ subject = '' as Digest }: { subject: Digest | undefined }) => this.#live.has(subject);
      const roots = strays.filter((stray) => isReferrer(stray) && !this.#live.has(stray.digest));
      found = roots.length > 0;
      await this.#references.reach(roots, this.#live, { document: 'unknown', signal });
    }
    const timeOf = new Map(this.#blobs.map(({ digest, time }) => [digest, time]));
    const finished: Reached = new Map();
    const wereTagged = strays.filter(({ digest }) => (timeOf.get(digest) ?? 0) < this.#now - UNTIL_TAGGED);
    await this.#references.reach(wereTagged, finished, { document: 'unknown', signal });
    const unfinished = this.#unreferenced().filter((blob) => !this.#isOld(blob) && !finished.has(blob.digest));
    const former = this.#unreferenced().filter(({ digest }) => this.#options.former?.has(digest) === true);
    const manifests = new Set(strays.map(({ digest }) => digest));
    const later = writtenAfterwards(former, manifests, { cutoff: this.#cutoff, slack: UNTIL_TAGGED });
    this.#isBeingWritten = unfinished.length + later.length > 0 || (await isIngesting(this.#layout.root, this.#cutoff));
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
    return this.#unreferenced().filter((blob) => this.#isOld(blob));
  }

  #isOld({ digest, time }: Listed): boolean {
    // Without a grace period, times that are still to come mean nothing.
    const isFromTheFuture = this.#options.grace === 0 && time > this.#now + SKEW;
    return time <= this.#cutoff || isFromTheFuture || this.#options.former?.has(digest) === true;
  }

  async #moveAll(moved: Moved): Promise<void> {
    const candidates = this.#candidates();
    const { signal } = this.#options;
    for (let start = 0; start < candidates.length; start += BATCH) {
      const batch = candidates.slice(start, start + BATCH);
      await lockedIndex(this.#layout, 'exclusive', (index) => this.#moveBatch(index, batch, moved), signal);
    }
    if (moved.taken.length > 0) this.#isBeingWritten ||= await this.#isWrittenNow();
    if (moved.taken.length + this.#aside.length > 0) {
      await lockedIndex(this.#layout, 'exclusive', (index) => this.#settle(index, moved), signal);
    }
    if (!this.#layout.settings.durable) return;
    const folders = new Set(moved.back.map(({ digest }) => dirname(this.#layout.blobs.path(digest))));
    for (const folder of folders) await syncPath(folder);
  }

  async #moveBatch(
    index: { readonly manifests: readonly Descriptor[] },
    batch: readonly Listed[],
    moved: Moved,
  ): Promise<void> {
    this.#options.signal?.throwIfAborted();
    await this.#keep(index);
    const taken: AsideBlob[] = [];
    let failure: unknown;
    try {
      for (const blob of batch) {
        const aside = await this.#move(blob);
        if (aside !== undefined) taken.push(aside);
      }
      // A writer may have found a blob just before it was moved; it had pinned it before that.
      await this.#keep(index);
    } catch (error) {
      failure = error;
    }
    for (const blob of taken) {
      if (failure === undefined && !this.#live.has(blob.digest)) moved.taken.push(blob);
      else await putBack(this.#layout.root, blob);
    }
    if (failure !== undefined) throw failure;
  }

  /** Moves a blob out of the way that is still what it was when it was listed. */
  async #move({ digest, path, size, inode, time }: Listed): Promise<AsideBlob | undefined> {
    if (this.#live.has(digest)) return undefined;
    const now = await lstat(path).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return undefined;
      throw error;
    });
    if (now?.ino !== inode || now.mtimeMs !== time) return undefined;
    return setAside(this.#layout.root, { digest, path, size }, this.#now);
  }

  /** Puts back what has come to be needed, and decides what goes for good. */
  async #settle(index: { readonly manifests: readonly Descriptor[] }, moved: Moved): Promise<void> {
    await this.#keep(index);
    for (const blob of moved.taken.filter(({ digest }) => this.#live.has(digest))) {
      await putBack(this.#layout.root, blob);
      moved.taken.splice(moved.taken.indexOf(blob), 1);
    }
    for (const blob of this.#aside) {
      if (!blob.damaged && this.#live.has(blob.digest)) {
        await putBack(this.#layout.root, blob);
        moved.back.push(blob);
      } else if (blob.since <= this.#cutoff) moved.doomed.push(blob);
    }
  }

  #result({ taken, doomed, back }: Moved<Pick<AsideBlob, 'digest' | 'path' | 'size'>>): CollectResult {
    const live = this.#blobs.filter(({ digest }) => this.#live.has(digest));
    const young = this.#unreferenced().filter((blob) => !this.#isOld(blob));
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
      ],
    };
  }
}

interface Moved<Blob = AsideBlob> {
  readonly taken: Blob[];
  readonly doomed: Blob[];
  readonly back: Blob[];
}
