import type { CacheRecord } from '../buildkit/cache-config.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { compareText, goJsonOf } from '../oci/json.js';
import { canonical } from './canonical.js';
import type { Graph, Layer } from './graph.js';
import { renumber } from './renumber.js';

/** The union of caches: the same graph for any order of them, and for any of them given twice. */
export function merge(graphs: readonly Graph[]): Graph {
  const [first, ...others] = graphs;
  if (first !== undefined && others.length === 0) return first;
  const layers: Layer[] = [];
  const records: CacheRecord[] = [];
  const descriptors = new Map<Digest, Descriptor>();
  for (const graph of graphs) {
    const [firstLayer, firstRecord] = [layers.length, records.length];
    for (const { blob, parent } of graph.layers)
      layers.push({ blob, parent: parent === -1 ? -1 : parent + firstLayer });
    const places = { layer: (old: number) => old + firstLayer, record: (old: number) => old + firstRecord };
    for (const record of graph.records) records.push(renumber(record, places));
    for (const [digest, descriptor] of graph.descriptors) {
      const known = descriptors.get(digest);
      descriptors.set(digest, known === undefined ? descriptor : mergeDescriptors(known, descriptor));
    }
  }
  return canonical({ layers, records, descriptors });
}

/** The descriptor with the fields of both descriptors; of two values the lesser, so that the order does not matter. */
export function mergeDescriptors(a: Descriptor, b: Descriptor): Descriptor {
  const annotations = lesserFields(a.annotations ?? {}, b.annotations ?? {});
  const merged = lesserFields<unknown>(a, b) as Descriptor;
  return Object.keys(annotations).length === 0 ? merged : { ...merged, annotations };
}

function lesserFields<T>(a: Readonly<Record<string, T>>, b: Readonly<Record<string, T>>): Record<string, T> {
  const merged = new Map(Object.entries(a));
  for (const [key, value] of Object.entries(b)) {
    const other = merged.get(key);
    if (other === undefined || compareText(jsonOf(value), jsonOf(other)) < 0) merged.set(key, value);
  }
  return Object.fromEntries(merged);
}

function jsonOf(value: unknown): string {
  return goJsonOf(value).toString('latin1');
}
