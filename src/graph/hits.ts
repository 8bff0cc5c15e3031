import type { CacheRecord } from '../buildkit/cache-config.js';
import { links } from './check.js';
import { dependenciesFirst } from './order.js';

/**
 * The records of one cache that each record of another cache hits, as BuildKit's solver does: they have the same digest, and in
 * each input one alternative hits, with an equal selector. A record has as many alternatives as builds have found ways to it,
 * so that equal inputs as a whole are no condition.
 *
 * @returns for each record of `from`, the indexes in `to`
 */
export function hitsOf(from: readonly CacheRecord[], to: readonly CacheRecord[]): readonly ReadonlySet<number>[] {
  const byDigest = new Map<string, number[]>();
  for (const [index, { digest }] of to.entries()) {
    const same = byDigest.get(digest);
    if (same === undefined) byDigest.set(digest, [index]);
    else same.push(index);
  }
  const hits: Set<number>[] = from.map(() => new Set());
  const { order } = dependenciesFirst(from.length, (index) => links(from[index]));
  for (const index of order) {
    const record = from[index];
    for (const candidate of byDigest.get(record?.digest ?? '') ?? []) {
      const inputs = to[candidate]?.inputs;
      if (record === undefined || inputs?.length !== record.inputs.length) continue;
      const isHit = record.inputs.every((alternatives, input) =>
        alternatives.some(({ selector, link }) =>
          inputs[input]?.some((other) => other.selector === selector && hits[link]?.has(other.link) === true),
        ),
      );
      if (isHit) hits[index]?.add(candidate);
    }
  }
  return hits;
}
