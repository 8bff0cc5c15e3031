import type { CacheConfig, CacheRecord } from '../buildkit/cache-config.js';
import { CacheError } from '../errors.js';
import { dependenciesFirst } from './order.js';

/**
 * The faults of a cacheconfig for which BuildKit refuses it (cache/remotecache/v1/parse.go): indexes out of range, an input
 * without alternatives, loops. Loops are searched for only if all indexes are valid.
 *
 * @returns one sentence for each fault
 */
export function configFaults(config: CacheConfig): string[] {
  const faults = [...rangeFaults(config)];
  return faults.length > 0 ? faults : [...loopFaults(config)];
}

/**
 * @param where - the blob that the config came from, for the message
 * @throws CacheError CORRUPT with the first fault
 */
export function checkConfig(config: CacheConfig, where: string): void {
  const [first, ...others] = configFaults(config);
  if (first === undefined) return;
  const more = others.length === 0 ? '' : ` (and ${others.length} more such faults)`;
  throw new CacheError('CORRUPT', `${where}: ${first}${more}`, {
    hint: 'BuildKit refuses this cache too; export it again',
  });
}

function* rangeFaults({ layers, records }: CacheConfig): Generator<string> {
  const outside = (index: number, list: readonly unknown[]) => index < 0 || index >= list.length;
  for (const [index, { parent }] of layers.entries()) {
    if (parent !== -1 && outside(parent, layers)) {
      yield `layer ${index} has parent ${parent}, and there are ${layers.length} layers`;
    }
  }
  for (const [index, record] of records.entries()) {
    for (const layer of namedLayers(record)) {
      if (outside(layer, layers)) yield `record ${index} names layer ${layer}, and there are ${layers.length} layers`;
    }
    for (const [input, alternatives] of record.inputs.entries()) {
      if (alternatives.length === 0) yield `record ${index} has no alternative for input ${input}`;
      for (const { link } of alternatives) {
        if (outside(link, records)) yield `record ${index} links to record ${link}, and there are ${records.length}`;
        else if (isRandom(records[link])) yield `record ${index} links to record ${link}, whose digest is random`;
      }
    }
  }
}

function* loopFaults({ layers, records }: CacheConfig): Generator<string> {
  const layerLoop = dependenciesFirst(layers.length, (layer) => {
    const parent = layers[layer]?.parent ?? -1;
    return parent === -1 ? [] : [parent];
  });
  for (const layer of layerLoop.looping) yield `layer ${layer} is among its own parents, or one of its parents is`;
  const recordLoop = dependenciesFirst(records.length, (record) => links(records[record]));
  for (const record of recordLoop.looping) yield `record ${record} loops: its inputs lead back to it or to such a loop`;
}

/** Whether a record is the key of a step that is never cached; BuildKit ignores such records (cache/remotecache/v1/chains.go, Add). */
export function isRandom(record: CacheRecord | undefined): boolean {
  return record?.digest.startsWith('random:') === true;
}

function namedLayers({ results, chains }: CacheRecord): number[] {
  return [...results.map(({ layer }) => layer), ...chains.flatMap(({ layers }) => layers)];
}

/** The records that a record links to. */
export function links(record: CacheRecord | undefined): number[] {
  return record?.inputs.flatMap((alternatives) => alternatives.map(({ link }) => link)) ?? [];
}
