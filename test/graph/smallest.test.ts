import test from 'ava';
import fc from 'fast-check';
import { replaceBlobs } from '../../src/graph/replace.js';
import { saveGraph } from '../../src/graph/save.js';
import { smallest } from '../../src/graph/smallest.js';
import type { Digest } from '../../src/oci/digest.js';
import { digestOf, graphs } from '../support/graphs.js';

const sizeOf = (graph: Parameters<typeof saveGraph>[0]) => saveGraph(graph, 'index').documents[0].bytes.length;

test('nothing that recompression can make of a graph takes fewer bytes than the smallest', (t) => {
  fc.assert(
    fc.property(graphs, fc.array(fc.nat(3), { minLength: 4, maxLength: 4 }), fc.nat(4), (graph, tars, known) => {
      const blobs = [...graph.descriptors.values()];
      const tarOf = (blob: Digest) => tars[blobs.findIndex(({ digest }) => digest === blob)] ?? 0;
      const packed = new Map(
        blobs.map((blob) => [blob.digest, { ...blob, digest: digestOf(`packed ${tarOf(blob.digest)}`) }]),
      );
      const diffIDs = new Map(blobs.slice(0, known).map(({ digest }) => [digest, `tar ${tarOf(digest)}`]));
      t.true(sizeOf(smallest(graph, diffIDs)) <= sizeOf(replaceBlobs(graph, packed)));
    }),
  );
});
