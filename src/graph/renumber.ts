import type { CacheRecord } from '../buildkit/cache-config.js';

/** Where layers and records stand in other lists, by where they stood; what is left out stays as it was. */
interface Places {
  readonly layer?: (old: number) => number;
  readonly record?: (old: number) => number;
}

/** A record over other lists of layers and records. */
export function renumber({ digest, inputs, results, chains }: CacheRecord, { layer: to, record }: Places): CacheRecord {
  return {
    digest,
    inputs: record
      ? inputs.map((alternatives) => alternatives.map(({ selector, link }) => ({ selector, link: record(link) })))
      : inputs,
    results: to ? results.map(({ layer, createdAt }) => ({ layer: to(layer), createdAt })) : results,
    chains: to ? chains.map(({ layers, createdAt }) => ({ layers: layers.map((l) => to(l)), createdAt })) : chains,
  };
}
