import test from 'ava';
import fc from 'fast-check';
import { canonical } from '../../../src/graph/canonical.js';
import { evict, evictionOrder } from '../../../src/graph/evict.js';
import type { Graph } from '../../../src/graph/graph.js';
import { dropUnusedLayers } from '../../../src/graph/keep.js';
import { saveGraph } from '../../../src/graph/save.js';
import type { Digest } from '../../../src/oci/digest.js';
import { fitSize, neededSizes, sizeOf } from '../../../src/operations/prune/budget.js';
import { graphs } from '../../support/graphs.js';

/** A cache, and what it needs when it is written. */
function sizedOf(graph: Graph, lastUsed: number) {
  const saved = saveGraph(graph, 'image-manifest');
  return { graph, saved, lastUsed, needs: neededSizes({ graph, saved }, blobSizes(graph)) };
}

function blobSizes(graph: Graph): Map<Digest, number> {
  return new Map(graph.layers.map(({ blob }) => [blob, 1000]));
}

/** All caches after each step, one step after another. */
function* steps(caches: readonly ReturnType<typeof sizedOf>[]): Generator<readonly Graph[]> {
  yield caches.map(({ graph }) => graph);
  const order = evictionOrder(caches);
  for (let count = 0; count <= order.length; count++) {
    const gone = new Set(order.slice(0, count));
    yield caches.map(({ graph }) => {
      const evicted = evict(graph, gone);
      const left = dropUnusedLayers(evicted);
      return left === evicted ? left : canonical(left);
    });
  }
}

test('of some caches goes what the first step does that fits, though not every step is looked at', (t) => {
  const several = fc.array(fc.tuple(graphs.map(canonical), fc.nat(3)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(several, fc.nat(100), (made, percent) => {
      const caches = made.map(([graph, lastUsed]) => sizedOf(graph, lastUsed));
      const sizes = new Map(made.flatMap(([graph]) => [...blobSizes(graph)]));
      const limit = (sizeOf(caches.map(({ needs }) => needs)) * percent) / 100;
      const { value, fits } = fitSize(caches, new Map(), sizes, limit);
      const all = [...steps(caches)];
      const needed = (graphs: readonly Graph[]) =>
        sizeOf(graphs.map((graph) => neededSizes({ graph, saved: saveGraph(graph, 'image-manifest') }, sizes)));
      const first = all.find((graphs) => needed(graphs) <= limit);
      t.is(fits, first !== undefined);
      t.deepEqual(
        value.map((now, index) => now?.graph ?? caches[index]?.graph),
        first ?? all.at(-1),
      );
    }),
  );
});
