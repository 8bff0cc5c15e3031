import { DIGEST, type FileList } from '../file-list.js';
import { MAX_INDEXED } from './block-index.js';

export interface ChooseOptions {
  /** The most bytes of all chosen tars together; by default what the index of blocks holds. */
  readonly most?: number | undefined;
  /** The most sources. Each that is not in a file yet is decompressed into one. */
  readonly count?: number | undefined;
}

/** The bytes of a digest that are its key. */
const KEY = 6;
/** Bytes of files that another source has too are not worth one more source. */
const MIN_SHARED = 64 * 1024;

/**
 * Chooses the layers that have most of a new layer's files: first the one that shares the most bytes, then the one that adds
 * the most, and so on. Where most of the new layer is in none of them, it may be a new version of files that have changed,
 * and then the layer whose size is nearest is one more.
 *
 * @returns the chosen lists, the most useful one first; of equal ones the first in the order given
 */
export function chooseSources(
  wanted: FileList,
  candidates: readonly FileList[],
  { most = MAX_INDEXED, count = 4 }: ChooseOptions = {},
): FileList[] {
  const missing = bytesByContent(wanted);
  const total = [...missing.values()].reduce((sum, size) => sum + size, 0);
  const chosen: FileList[] = [];
  let left = most;
  let found = 0;
  const take = (list: FileList) => {
    chosen.push(list);
    left -= list.size;
    for (const key of keysOf(list)) {
      found += missing.get(key) ?? 0;
      missing.delete(key);
    }
  };
  const rest = () =>
    chosen.length < count ? candidates.filter((list) => !chosen.includes(list) && list.size <= left) : [];
  const nearness = (list: FileList) => -Math.abs(list.size - wanted.size);
  for (;;) {
    const best = greatest(rest(), (list) => sharedBytes(list, missing), nearness);
    if (best === undefined || sharedBytes(best, missing) < Math.min(MIN_SHARED, wanted.size / 100)) break;
    take(best);
    if (missing.size === 0) return chosen;
  }
  if (2 * found >= total && chosen.length > 0) return chosen;
  const nearest = greatest(rest(), nearness);
  if (nearest !== undefined) take(nearest);
  return chosen;
}

/** The first item with the greatest measure; where measures are equal, the next measure decides. */
function greatest<T>(items: readonly T[], ...measures: readonly ((item: T) => number)[]): T | undefined {
  let [best] = items;
  let bestValues = best === undefined ? [] : measures.map((measure) => measure(best as T));
  for (const item of items.slice(1)) {
    const values = measures.map((measure) => measure(item));
    const at = values.findIndex((value, index) => value !== bestValues[index]);
    if (at === -1 || (values[at] ?? 0) < (bestValues[at] ?? 0)) continue;
    best = item;
    bestValues = values;
  }
  return best;
}

/** The sizes of all contents, by digest. */
function bytesByContent(list: FileList): Map<number, number> {
  const sizes = new Map<number, number>();
  let index = 0;
  for (const key of keysOf(list)) sizes.set(key, list.sizes[index++] ?? 0);
  return sizes;
}

/** The bytes of the contents in `missing` that a list has, each of them once. */
function sharedBytes(list: FileList, missing: ReadonlyMap<number, number>): number {
  let sum = 0;
  const seen = new Set<number>();
  for (const key of keysOf(list)) {
    const size = missing.get(key);
    if (size === undefined || seen.has(key)) continue;
    seen.add(key);
    sum += size;
  }
  return sum;
}

/** The keys of all digests: 48 bits are enough to count what layers share. */
function* keysOf({ digests }: FileList): Generator<number, void, undefined> {
  for (let at = 0; at < digests.length; at += DIGEST) yield digests.readUIntBE(at, KEY);
}
