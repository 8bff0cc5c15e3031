import type { CacheRecord } from '../buildkit/cache-config.js';
import { parseDigest } from '../oci/digest.js';
import { links } from './check.js';
import { hasResults } from './graph.js';
import { keepRecords } from './keep.js';

/**
 * The digest of the record that joins the ends of a cache, `bkcache` in ASCII at its end. No step of a build has it. It
 * comes last in BuildKit's order, so that no other record changes its place when it comes or goes.
 */
export const JOIN = parseDigest(`sha256:${'f'.repeat(50)}626b6361636865`, 'JOIN');

/** The ends of a cache, by their places: the records that no other record links to. */
export function endsOf(records: readonly CacheRecord[]): number[] {
  const linked = new Set(records.flatMap(links));
  return [...records.keys()].filter((index) => !linked.has(index));
}

/**
 * The records of a cache with one end: several are joined by one more record on top, without results and with one input
 * for each of them. Since 0.25 BuildKit walks a cache from end to end and, in each walk, keeps only the first link to a
 * record that an earlier walk has seen (cache/remotecache/v1/cachestorage.go, addItemToStorage). Steps behind the links
 * that it loses run again, other ones each time, since the order of the ends is that of a Go map.
 */
export function joinEnds(records: readonly CacheRecord[]): readonly CacheRecord[] {
  const ends = endsOf(records);
  if (ends.length <= 1) return records;
  const inputs = ends.map((link) => [{ selector: '', link }]);
  return [...records, { digest: JOIN, inputs, results: [], chains: [] }];
}

/** The records as they were before their ends were joined. A join that other records link to is a record as any other. */
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
