import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { pruneConversions } from '../blobs/conversions.js';
import { syncFolder } from '../files/durable.js';
import { indexPath } from '../index/index-read.js';
import { inodeOfSame } from '../index/settled.js';
import type { Layout } from '../layout.js';
import type { Flock } from '../lock/flock.js';
import { withLock } from '../lock/lock.js';
import { amount, type FolderGcResult } from './gc-result.js';
import { emptyRemains, type Leftover, leftovers } from './leftovers.js';
import { Liveness, type LivenessOptions } from './liveness.js';
import { type Batch, MOST, moveBatch } from './move-batch.js';
import { makeQuarantine, type QuarantinedBlob, quarantinedBlobs, removeQuarantined, restore } from './quarantine.js';
import type { Listed } from './writers.js';

const TRIES = 3;
/** Between two batches, in milliseconds: a build that tries the lock meanwhile gets it. */
const PAUSE = 1;

interface SweepOptions extends LivenessOptions {
  readonly dryRun?: boolean | undefined;
}

/**
 * Removes the garbage of a layout: blobs that no entry of index.json needs, directly or through manifests and referrers,
 * that no running bkcache has leased, and that nobody has touched within the grace period; and what dead processes have
 * left.
 *
 * BuildKit leaves no trace when an export finds a blob and depends on it. Garbage is therefore moved to quarantine first,
 * under the exclusive lock, so that a later export writes it again. Where young blobs without a manifest show that an
 * export may be under way, it stays in quarantine for the grace period, and is restored if that export turns out to need
 * it.
 *
 * @throws CacheError CORRUPT when a manifest cannot be read, so that it is not known what it needs: nothing is deleted
 *   then. NOT_FOUND where there is no index.json, BUSY
 */
export async function gc(layout: Layout, options: SweepOptions = {}): Promise<FolderGcResult> {
  const { tryFlock } = await import('../lock/flock.js');
  for (let attempt = 1; ; attempt++) {
    const sweep = new Sweep(layout, options, tryFlock);
    try {
      await sweep.look();
    } catch (error) {
      // gc of another process may be removing what this one has just read of.
      if (!(error instanceof CacheError && error.code === 'CORRUPT') || attempt === TRIES) throw error;
      await sleep(50, undefined, { signal: options.signal });
      continue;
    }
    return options.dryRun === true ? sweep.plan() : sweep.run();
  }
}

/** Blobs by what becomes of them. */
interface Swept<Blob = QuarantinedBlob> {
  /** Garbage that is moved to quarantine. */
  readonly moved: Blob[];
  /** Blobs that were in quarantine, and are removed. */
  readonly removed: Blob[];
  /** Blobs that were in quarantine, and are restored. */
  readonly restored: Blob[];
}

class Sweep {
  readonly #layout: Layout;
  readonly #options: SweepOptions;
  readonly #tryFlock: Flock;
  readonly #liveness: Liveness;
  #quarantined: readonly QuarantinedBlob[] = [];
  #leftovers: readonly Leftover[] = [];

  constructor(layout: Layout, options: SweepOptions, tryFlock: Flock) {
    this.#layout = layout;
    this.#options = options;
    this.#tryFlock = tryFlock;
    this.#liveness = new Liveness(layout, options, tryFlock);
  }

  /** Finds out what exists, and what is needed. */
  async look(): Promise<void> {
    const { root } = this.#layout;
    this.#quarantined = await quarantinedBlobs(root);
    this.#leftovers = [...(await leftovers(root, this.#liveness.cutoff)), ...(await emptyRemains(root))];
    await this.#liveness.look();
  }

  /** What would be done. */
  plan(): FolderGcResult {
    const restored = this.#quarantined.filter((blob) => this.#isNeeded(blob));
    const removed = this.#quarantined.filter((blob) => !this.#isNeeded(blob) && this.#liveness.isOver(blob.since));
    return this.#result({ moved: this.#liveness.garbage(), removed, restored });
  }

  /** When it fails, what was moved stays in quarantine for the next gc. */
  async run(): Promise<FolderGcResult> {
    const { root } = this.#layout;
    const swept: Swept = { moved: [], removed: [], restored: [] };
    for (const { remove } of this.#leftovers) await remove();
    await this.#moveAll(swept);
    await this.#settle(swept);
    await pruneConversions(root);
    await removeQuarantined(root, [...swept.removed, ...(this.#liveness.isBeingWritten ? [] : swept.moved)]);
    // The damage marks of what was just removed.
    for (const { remove } of await emptyRemains(root)) await remove();
    return this.#result(swept);
  }

  /** Moves the garbage to quarantine. */
  async #moveAll({ moved }: Swept): Promise<void> {
    const liveness = this.#liveness;
    let garbage = await liveness.manifestsFirst(liveness.garbage());
    if (garbage.length === 0) return;
    makeQuarantine(this.#layout.root, liveness.now);
    const unneeded = new Set(liveness.unneeded().map(({ digest }) => digest));
    const isUnneeded = (digest: Digest) => unneeded.has(digest) && !liveness.live.has(digest);
    for (let at = 0; at < garbage.length;) {
      this.#options.signal?.throwIfAborted();
      const batch = await this.#moveBatch(garbage.slice(at, at + MOST), isUnneeded);
      if (batch !== undefined) {
        for (const blob of batch.moved) moved.push(blob);
        at += batch.seen;
        if (batch.needed.length > 0) await liveness.keep(batch.needed);
      }
      // Another process has changed index.json: what it needs is found out without the lock.
      else await liveness.lookAgain();
      // What is live changes only then: a look at all garbage after each batch would be quadratic.
      if (batch === undefined || batch.needed.length > 0) {
        garbage = garbage.slice(at).filter(({ digest }) => !liveness.live.has(digest));
        at = 0;
      }
      if (at < garbage.length) await sleep(PAUSE);
    }
    if (moved.length > 0) await liveness.lookForWriters();
  }

  /** @returns undefined when index.json was changed, and nothing was moved */
  async #moveBatch(garbage: readonly Listed[], isUnneeded: (digest: Digest) => boolean): Promise<Batch | undefined> {
    const { root, settings } = this.#layout;
    const { now, untagged: manifests, leases, indexFile } = this.#liveness;
    const path = indexPath(this.#layout);
    return withLock(
      path,
      'exclusive',
      () => {
        const start = performance.now();
        if (inodeOfSame(path, indexFile) === undefined) return undefined;
        return moveBatch(root, garbage, { start, now, manifests, leases, isUnneeded, tryFlock: this.#tryFlock });
      },
      { timeout: settings.lockTimeout, signal: this.#options.signal },
    );
  }

  /** Restores what has come to be needed, and decides what is removed. */
  async #settle(swept: Swept): Promise<void> {
    const { root, settings, blobs } = this.#layout;
    if (swept.moved.length + this.#quarantined.length === 0) return;
    await this.#liveness.lookAgain();
    const moved = swept.moved.splice(0);
    for (const blob of moved) {
      if (this.#liveness.live.has(blob.digest)) restore(root, blob);
      else swept.moved.push(blob);
    }
    for (const blob of this.#quarantined) {
      if (this.#isNeeded(blob)) {
        restore(root, blob);
        swept.restored.push(blob);
      } else if (this.#liveness.isOver(blob.since)) swept.removed.push(blob);
    }
    if (!settings.durable) return;
    const folders = new Set(swept.restored.map(({ digest }) => dirname(blobs.path(digest))));
    for (const folder of folders) await syncFolder(folder);
  }

  #isNeeded({ digest, damaged }: QuarantinedBlob): boolean {
    return !damaged && this.#liveness.live.has(digest);
  }

  #result({ moved, removed, restored }: Swept<Pick<QuarantinedBlob, 'digest' | 'path' | 'size'>>): FolderGcResult {
    const { blobs, live, isBeingWritten, tags } = this.#liveness;
    const young = this.#liveness.unneeded().filter((blob) => !this.#liveness.isGarbage(blob));
    return {
      removed: amount([...removed, ...(isBeingWritten ? [] : moved)]),
      setAside: amount(isBeingWritten ? moved : []),
      putBack: amount(restored),
      young: amount(young),
      leftovers: amount(this.#leftovers),
      live: amount([...blobs.filter(({ digest }) => live.has(digest)), ...restored]),
      tags,
      paths: [
        ...moved.map(({ digest }) => this.#layout.blobs.path(digest)),
        ...[...removed, ...this.#leftovers].map(({ path }) => path),
      ].toSorted(),
    };
  }
}
