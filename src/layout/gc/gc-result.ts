import type { TagUsage } from './usage.js';

/** Files and their bytes. */
export interface Amount {
  readonly count: number;
  readonly bytes: number;
}

export interface CollectResult {
  /** Blobs that are gone for good. */
  readonly removed: Amount;
  /** Blobs that are out of the way, and go for good once the grace period is over and no export has needed them. */
  readonly setAside: Amount;
  /** Blobs that had been set aside, and that something refers to again. */
  readonly putBack: Amount;
  /** Blobs that nothing refers to, and that were touched within the grace period. */
  readonly young: Amount;
  /** What dead processes have left. */
  readonly leftovers: Amount;
  /** What stays since something needs it. */
  readonly live: Amount;
  readonly tags: readonly TagUsage[];
  /** What was removed or set aside, or would be, by path. */
  readonly paths: readonly string[];
}

/** Several files as an amount. */
export function amount(files: readonly { readonly size: number }[]): Amount {
  return { count: files.length, bytes: files.reduce((sum, { size }) => sum + size, 0) };
}
