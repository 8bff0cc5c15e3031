import fc from 'fast-check';
import type { Graph } from '../../src/graph/graph.js';
import { sha256 } from '../../src/oci/digest.js';

const time = fc.integer({ min: 0, max: 3 }).map((second) => `2026-01-01T00:00:0${second}Z`);

/** Sound graphs: every layer's parent and every record's link comes before it. */
export const soundGraphs: fc.Arbitrary<Graph> = fc
  .record({
    layers: fc.array(fc.tuple(fc.nat(5), fc.nat(9)), { minLength: 1, maxLength: 8 }),
    records: fc.array(
      fc.record({
        inputs: fc.array(fc.array(fc.nat(9), { minLength: 1, maxLength: 2 }), { maxLength: 2 }),
        results: fc.array(fc.tuple(fc.nat(9), time), { maxLength: 2 }),
        chains: fc.array(fc.tuple(fc.array(fc.nat(9), { minLength: 1, maxLength: 3 }), time), { maxLength: 1 }),
      }),
      { minLength: 1, maxLength: 8 },
    ),
  })
  .map(({ layers, records }) => ({
    layers: layers.map(([blob, below], index) => ({
      blob: sha256(`blob ${blob}`),
      parent: index === 0 ? -1 : (below % (index + 1)) - 1,
    })),
    records: records.map(({ inputs, results, chains }, index) => ({
      digest: sha256(`record ${index}`),
      inputs: index === 0 ? [] : inputs.map((links) => links.map((link) => ({ selector: '', link: link % index }))),
      results: results.map(([layer, createdAt]) => ({ layer: layer % layers.length, createdAt })),
      chains: chains.map(([named, createdAt]) => ({ layers: named.map((layer) => layer % layers.length), createdAt })),
    })),
    descriptors: new Map(
      layers.map(([blob]) => {
        const digest = sha256(`blob ${blob}`);
        return [digest, { mediaType: 'x', digest, size: 1000 * (blob + 1) }] as const;
      }),
    ),
  }));
