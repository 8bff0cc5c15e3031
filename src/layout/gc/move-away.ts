import { lstatSync } from 'node:fs';
import { isSystemError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { type AsideBlob, putBack, setAside } from './quarantine.js';
import type { Flock } from '../lock/flock.js';
import { moveUnlessHeld } from '../lock/manifest-lease.js';
import type { LeaseReader } from '../workspace/lease-reader.js';
import type { Listed } from './writers.js';

// What gc does while it holds the lock on index.json, which no build can have meanwhile.

/** How many files are moved at most, and how long that may take, in milliseconds. */
const MOST = 100;
const LONGEST = 1;

export interface MoveOptions {
  /** What the folders of what is moved are named after; in milliseconds since 1970. */
  readonly now: number;
  /** The manifests, which somebody may hold. */
  readonly manifests: ReadonlySet<Digest>;
  readonly leases: LeaseReader;
  /** Whether a blob was there before and nothing needed it. */
  readonly isUnneeded: (digest: Digest) => boolean;
  readonly tryFlock: Flock;
}

export interface Moves {
  readonly taken: readonly AsideBlob[];
  /** How many of the candidates are dealt with. */
  readonly seen: number;
  /** What turned out to be needed, with everything below it. */
  readonly needed: readonly Digest[];
}

/**
 * Moves some blobs out of the way, as many as there is time for. Of a manifest and what it names, the manifest has to
 * come first: see layout/lock/manifest-lease.ts.
 */
export function moveAway(root: string, candidates: readonly Listed[], options: MoveOptions): Moves {
  const { leases, isUnneeded } = options;
  const end = performance.now() + LONGEST;
  const taken: AsideBlob[] = [];
  let seen = 0;
  let held: Digest | undefined;
  let isDone = false;
  try {
    for (const blob of candidates) {
      if (seen === MOST || performance.now() > end) break;
      const outcome = move(root, blob, options);
      if (outcome === 'held') {
        held = blob.digest;
        break;
      }
      seen++;
      if (outcome !== undefined) taken.push(outcome);
    }
    // A writer may have found a blob just before it was moved; it had leased it before that.
    const leased = [...leases.added()];
    const needed = held === undefined ? leased : [held, ...leased];
    isDone = !leased.some(isUnneeded);
    return isDone ? { taken, seen, needed } : { taken: [], seen: 0, needed };
  } finally {
    if (!isDone) for (const blob of taken) putBack(root, blob);
  }
}

/** Moves a blob that is still what it was when it was listed. */
function move(
  root: string,
  { digest, path, size, inode, time }: Listed,
  { now, manifests, tryFlock }: MoveOptions,
): AsideBlob | 'held' | undefined {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats?.ino !== inode || stats.mtimeMs !== time) return undefined;
  let moved: AsideBlob | undefined;
  const act = () => {
    moved = setAside(root, { digest, path, size }, now);
  };
  try {
    if (!manifests.has(digest)) act();
    else if (!moveUnlessHeld(path, act, tryFlock)) return 'held';
    return moved;
  } catch (error) {
    // Somebody else has deleted it.
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}
