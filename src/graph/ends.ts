import type { CacheRecord } from '../buildkit/cache-config.js';
import { parseDigest } from '../oci/digest.js';
import { links } from './check.js';
import { hasResults } from './graph.js';
import { keepRecords } from './keep.js';

/**
 * The digest of the record that joins the ends of a cache; it ends with `bkcache` in ASCII. No step of a build has this digest.
 * It sorts last in BuildKit's order, so that the indexes of other records do not change.
 */
export const JOIN = parseDigest(`sha256:${'f'.repeat(50)}626b6361636865`, 'JOIN');

/** The indexes of the final records of a cache: records that no other record links to. */
export function endsOf(records: readonly CacheRecord[]): number[] {
  const linked = new Set(records.flatMap(links));
  return [...records.keys()].filter((index) => !linked.has(index));
}

/**
 * Joins several ends by one more record, without results and with one input for each end. Since 0.25 BuildKit walks a cache
 * once from each end, and in each walk keeps only the first link to a record that an earlier walk has seen
 * (cache/remotecache/v1/cachestorage.go, addItemToStorage). Steps that need a lost link run again, and different ones each
 * time, since the ends are in the order of a Go map.
 */
export function joinEnds(records: readonly CacheRecord[]): readonly CacheRecord[] {
  const ends = endsOf(records);
  if (ends.length <= 1) return records;
  const inputs = ends.map((link) => [{ selector: '', link }]);
  return [...records, { digest: JOIN, inputs, results: [], chains: [] }];
}

/** The records without the join. A join that other records link to is kept. */
export function withoutJoin(records: readonly CacheRecord[]): readonly CacheRecord[] {
  if (!records.some(isJoin)) return records;
  const kept = new Set(records.flatMap((record, index) => (isJoin(record) ? [] : [index])));
  // The walk of a set reaches what is added during the walk.
  for (const index of kept) for (const link of links(records[index])) kept.add(link);
  return keepRecords(records, kept);
}

function isJoin(record: CacheRecord): boolean {
  return record.digest === JOIN && !hasResults(record);
}
