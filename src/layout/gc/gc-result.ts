import type { TagUsage } from './usage.js';

/** Files and their bytes. */
export interface Amount {
  readonly count: number;
  readonly bytes: number;
}

/** What gc did in a folder, and in each other place too. */
export interface FolderGcResult {
  /** Blobs that were deleted. */
  readonly removed: Amount;
  /** Blobs in quarantine: the next gc after the grace period deletes them, unless an export has needed them. */
  readonly setAside: Amount;
  /** Blobs that were restored from quarantine, since something refers to them again. */
  readonly putBack: Amount;
  /** Blobs that nothing refers to, and that were changed within the grace period. */
  readonly young: Amount;
  /** Files of dead processes. */
  readonly leftovers: Amount;
  /** Blobs that are needed. */
  readonly live: Amount;
  readonly tags: readonly TagUsage[];
  /** The paths of what was deleted or moved to quarantine, or would be. */
  readonly paths: readonly string[];
}

/** Several files as an amount. */
export function amount(files: readonly { readonly size: number }[]): Amount {
  return { count: files.length, bytes: files.reduce((sum, { size }) => sum + size, 0) };
}
