import fc from 'fast-check';
import type { Graph } from '../../src/graph/graph.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';

/** A digest that stands for a name. */
export const digestOf = (name: string): Digest => sha256(name);
const time = fc.integer({ min: 0, max: 3 }).map((second) => `2026-01-01T00:00:0${second}Z`);

/** Sound graphs: every layer's parent and every record's link comes before it. */
export const graphs: fc.Arbitrary<Graph> = fc
  .record({
    layers: fc.array(fc.tuple(fc.nat(3), fc.nat(9)), { minLength: 1, maxLength: 6 }),
    records: fc.array(
      fc.record({
        name: fc.nat(3),
        inputs: fc.array(fc.array(fc.tuple(fc.nat(9), fc.constantFrom('', 'a', 'b')), { minLength: 1, maxLength: 2 }), {
          maxLength: 2,
        }),
        results: fc.array(fc.tuple(fc.nat(9), time), { maxLength: 2 }),
        chains: fc.array(fc.tuple(fc.array(fc.nat(9), { minLength: 1, maxLength: 3 }), time), { maxLength: 1 }),
      }),
      { minLength: 1, maxLength: 8 },
    ),
  })
  .map(({ layers, records }) => ({
    layers: layers.map(([blob, below], index) => ({
      blob: digestOf(`blob ${blob}`),
      parent: index === 0 ? -1 : (below % (index + 1)) - 1,
    })),
    records: records.map(({ name, inputs, results, chains }, index) => ({
      digest: digestOf(`record ${name}`),
      inputs:
        index === 0 ? [] : inputs.map((links) => links.map(([link, selector]) => ({ selector, link: link % index }))),
      results: results.map(([layer, createdAt]) => ({ layer: layer % layers.length, createdAt })),
      chains: chains.map(([named, createdAt]) => ({ layers: named.map((l) => l % layers.length), createdAt })),
    })),
    descriptors: new Map(
      layers.map(([blob], index) => {
        const digest = digestOf(`blob ${blob}`);
        return [digest, { mediaType: 'x', digest, size: blob, annotations: { order: `${index % 2}` } }] as const;
      }),
    ),
  }));

/** The same with records that are all different, and layers of sizes worth comparing. */
export const distinctGraphs: fc.Arbitrary<Graph> = graphs.map(({ layers, records, descriptors }) => ({
  layers,
  records: records.map((record, index) => ({ ...record, digest: digestOf(`record ${index}`) })),
  descriptors: new Map(
    [...descriptors].map(([blob, descriptor]) => [blob, { ...descriptor, size: 1000 * (descriptor.size + 1) }]),
  ),
}));
