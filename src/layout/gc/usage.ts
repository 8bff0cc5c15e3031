import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { CacheError } from '../../errors.js';
import { readIndex } from '../index/index-read.js';
import { findTag, tagOf } from '../index/index-json.js';
import type { Layout } from '../layout.js';
import { type Marked, Marking } from './mark.js';

/** How much of a layout an entry of its index stands for, in bytes. */
export interface TagUsage {
  readonly tag: string | undefined;
  readonly digest: Digest;
  readonly total: number;
  /** What other entries need as well. */
  readonly shared: number;
  /** What would be free without this entry. */
  readonly exclusive: number;
}

/**
 * What each entry needs.
 *
 * @param sizes - of the blobs that are there, in bytes
 */
export async function usageOf(
  entries: readonly Descriptor[],
  marking: Marking,
  sizes: ReadonlyMap<Digest, number>,
  signal?: AbortSignal,
): Promise<TagUsage[]> {
  const needs: Marked[] = [];
  const users = new Map<Digest, number>();
  for (const entry of entries) {
    const marked: Marked = new Map();
    await marking.mark([entry], marked, { signal });
    for (const digest of marked.keys()) users.set(digest, (users.get(digest) ?? 0) + 1);
    needs.push(marked);
  }
  return entries.map((entry, index) => {
    let [total, exclusive] = [0, 0];
    for (const digest of needs[index]?.keys() ?? []) {
      const size = sizes.get(digest) ?? 0;
      total += size;
      if (users.get(digest) === 1) exclusive += size;
    }
    return { tag: tagOf(entry), digest: entry.digest, total, shared: total - exclusive, exclusive };
  });
}

/** Everything that a tag needs, as far as it can be read; nothing for a tag that is not there. */
export async function markTag(layout: Layout, tag: string, signal?: AbortSignal): Promise<ReadonlySet<Digest>> {
  const marked: Marked = new Map();
  try {
    const entry = findTag(await readIndex(layout, signal), tag);
    if (entry !== undefined) await new Marking(layout.blobs).mark([entry], marked, { signal });
  } catch (error) {
    if (!(error instanceof CacheError) || error.code !== 'NOT_FOUND') throw error;
  }
  return new Set(marked.keys());
}
