import type { CacheConfig, CacheRecord } from '../buildkit/cache-config.js';
import { isRandom, links } from './check.js';
import { dependenciesFirst } from './order.js';
import { keepLayers, keepRecords } from './keep.js';
import { isDigest } from '../oci/digest.js';

/**
 * Drops the parts of a cacheconfig for which BuildKit refuses it: results with layers that do not exist or are in a loop, and
 * records with inputs that do not exist or are in a loop. A config without faults is returned unchanged.
 */
export function mend(config: CacheConfig): CacheConfig {
  return mendRecords(mendLayers(config));
}

/** The config with the digests of its records in lower case, as BuildKit writes them: no step has a digest in upper case. */
export function lowerDigests(config: CacheConfig): CacheConfig {
  if (!config.records.some(({ digest }) => isMisspelt(digest))) return config;
  const lower = (digest: string) => (isMisspelt(digest) ? digest.toLowerCase() : digest);
  return { ...config, records: config.records.map((record) => ({ ...record, digest: lower(record.digest) })) };
}

/** Whether a text is a digest in upper case. */
export function isMisspelt(digest: string): boolean {
  return !isDigest(digest) && isDigest(digest.toLowerCase());
}

function mendLayers(config: CacheConfig): CacheConfig {
  const { layers, records } = config;
  const exists = (index: number) => index >= 0 && index < layers.length;
  const parentOf = (index: number) => layers[index]?.parent ?? -1;
  const { order, looping } = dependenciesFirst(layers.length, (index) => {
    return exists(parentOf(index)) ? [parentOf(index)] : [];
  });
  const broken = new Set(looping);
  for (const index of order) {
    const parent = parentOf(index);
    if (parent !== -1 && (!exists(parent) || broken.has(parent))) broken.add(index);
  }
  const isWhole = (index: number) => exists(index) && !broken.has(index);
  const isFine = (record: CacheRecord) =>
    record.results.every(({ layer }) => isWhole(layer)) && record.chains.every((chain) => chain.layers.every(isWhole));
  if (broken.size === 0 && records.every(isFine)) return config;
  const possible = records.map((record) => ({
    ...record,
    results: record.results.filter(({ layer }) => isWhole(layer)),
    chains: record.chains.filter((chain) => chain.layers.every(isWhole)),
  }));
  return keepLayers({ layers, records: possible }, new Set([...layers.keys()].filter(isWhole)));
}

function mendRecords(config: CacheConfig): CacheConfig {
  const { records } = config;
  const linksTo = records.map((record) => links(record).filter((link) => link >= 0 && link < records.length));
  const refused = new Set([...onLoops(linksTo), ...linksTo.flat().filter((link) => isRandom(records[link]))]);
  // In this order it is known of all alternatives whether they stay before the record itself is looked at.
  const { order } = dependenciesFirst(records.length, (index) =>
    refused.has(index) ? [] : (linksTo[index] ?? []).filter((link) => !refused.has(link)),
  );
  const kept = new Set<number>();
  for (const index of order) {
    const { inputs } = records[index] ?? { inputs: [] };
    const isPossible = inputs.every((alternatives) => alternatives.some(({ link }) => kept.has(link)));
    if (isPossible && !refused.has(index)) kept.add(index);
  }
  const isWhole = records.every((record, index) => kept.has(index) && links(record).every((link) => kept.has(link)));
  return isWhole ? config : { ...config, records: keepRecords(records, kept) };
}

/** The nodes on loops, and those between two of them. */
function onLoops(linksTo: readonly (readonly number[])[]): ReadonlySet<number> {
  const { looping } = dependenciesFirst(linksTo.length, (index) => linksTo[index] ?? []);
  if (looping.length === 0) return new Set();
  const candidates = new Set(looping);
  const linkedFrom: number[][] = linksTo.map(() => []);
  for (const index of looping)
    for (const link of linksTo[index] ?? []) if (candidates.has(link)) linkedFrom[link]?.push(index);
  const backwards = dependenciesFirst(linksTo.length, (index) => linkedFrom[index] ?? []);
  return new Set(backwards.looping);
}
