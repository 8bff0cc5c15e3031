import { lstatSync } from 'node:fs';
import { isSystemError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { moveToQuarantine, type QuarantinedBlob, restore } from './quarantine.js';
import type { Flock } from '../lock/flock.js';
import { moveUnlessLeased } from '../lock/manifest-lease.js';
import type { LeaseReader } from '../workspace/lease-reader.js';
import type { Listed } from './writers.js';

// What gc does while it has the lock on index.json: builds that try the lock meanwhile fail.

/** How many files are moved at most. */
export const MOST = 100;
/** When no further file is moved, in milliseconds since the lock was taken. */
const LONGEST = 1;
/** How long files are moved at least, in milliseconds, however long it took to compare a large index.json. */
const LEAST = 0.5;

interface BatchOptions {
  /** When the lock was taken: a time of `performance.now`. */
  readonly start: number;
  /** The time that names the quarantine; in milliseconds since 1970. */
  readonly now: number;
  /** The manifests, which readers may have leased. */
  readonly manifests: ReadonlySet<Digest>;
  readonly leases: LeaseReader;
  /** Whether a blob was listed, and nothing needed it. */
  readonly isUnneeded: (digest: Digest) => boolean;
  readonly tryFlock: Flock;
}

export interface Batch {
  readonly moved: readonly QuarantinedBlob[];
  /** How many blobs of the garbage are done. */
  readonly seen: number;
  /** The blobs that turned out to be needed, with everything below them. */
  readonly needed: readonly Digest[];
}

/**
 * Moves some garbage to quarantine, as much as there is time for. Of a manifest and what it names, the manifest has to
 * come first: see layout/lock/manifest-lease.ts.
 *
 * @param garbage - MOST files at most
 */
export function moveBatch(root: string, garbage: readonly Listed[], options: BatchOptions): Batch {
  const { leases, isUnneeded } = options;
  const end = Math.max(options.start + LONGEST, performance.now() + LEAST);
  const moved: QuarantinedBlob[] = [];
  let seen = 0;
  let leasedManifest: Digest | undefined;
  let isDone = false;
  try {
    for (const blob of garbage) {
      if (performance.now() > end) break;
      const outcome = move(root, blob, options);
      if (outcome === 'leased') {
        leasedManifest = blob.digest;
        break;
      }
      seen++;
      if (outcome !== undefined) moved.push(outcome);
    }
    // A writer may have found a blob just before it was moved; it had leased it before that.
    const leased = [...leases.added()];
    const needed = leasedManifest === undefined ? leased : [leasedManifest, ...leased];
    isDone = !leased.some(isUnneeded);
    return isDone ? { moved, seen, needed } : { moved: [], seen: 0, needed };
  } finally {
    if (!isDone) for (const blob of moved) restore(root, blob);
  }
}

/** Moves a blob that was not changed since it was listed. */
function move(
  root: string,
  { digest, path, size, inode, time }: Listed,
  { now, manifests, tryFlock }: BatchOptions,
): QuarantinedBlob | 'leased' | undefined {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats?.ino !== inode || stats.mtimeMs !== time) return undefined;
  let moved: QuarantinedBlob | undefined;
  const act = () => {
    moved = moveToQuarantine(root, { digest, path, size }, now);
  };
  try {
    if (!manifests.has(digest)) act();
    else if (!moveUnlessLeased(path, act, tryFlock)) return 'leased';
    return moved;
  } catch (error) {
    // Another process has deleted it.
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}
