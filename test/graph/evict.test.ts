import test from 'ava';
import fc from 'fast-check';
import { encodeCacheConfig } from '../../src/buildkit/cache-config.js';
import { configFaults } from '../../src/graph/check.js';
import { dropDeadKeys, evict, evictionOrder, type UsedGraph } from '../../src/graph/evict.js';
import { blobsOf, type Graph, hasResults, layersOf, withParents } from '../../src/graph/graph.js';
import { canonical } from '../../src/graph/canonical.js';
import { dropUnusedLayers, keepResults } from '../../src/graph/keep.js';
import { mend } from '../../src/graph/mend.js';
import type { Digest } from '../../src/oci/digest.js';
import { distinctGraphs, graphs } from '../support/graphs.js';

const bytes = (graph: Graph) => encodeCacheConfig(graph).toString();
const firstOf = (graph: Graph, count: number) =>
  new Set(evictionOrder([{ graph, lastUsed: undefined }]).slice(0, count));

test('what is left after an eviction is sound, has every key, and needs no blob that went', (t) => {
  fc.assert(
    fc.property(distinctGraphs.map(canonical), fc.nat(8), (graph, count) => {
      const gone = firstOf(graph, count);
      const left = evict(graph, gone);
      t.deepEqual(configFaults(left), []);
      t.is(left.records.length, graph.records.length);
      for (const record of left.records) {
        for (const layer of layersOf(left, record)) t.false(gone.has(left.layers[layer]?.blob ?? ('' as never)));
      }
    }),
  );
});

test('evicting twice changes nothing, and evicting more leaves a part of what evicting less does', (t) => {
  fc.assert(
    fc.property(distinctGraphs.map(canonical), fc.nat(8), fc.nat(8), (graph, a, b) => {
      const [less, more] = [Math.min(a, b), Math.max(a, b)];
      const small = evict(graph, firstOf(graph, more));
      const large = evict(graph, firstOf(graph, less));
      t.is(evict(small, firstOf(graph, more)), small);
      const digests = new Set(blobsOf(large).map(({ digest }) => digest));
      for (const { digest } of blobsOf(small)) t.true(digests.has(digest));
      t.true(small.records.filter(hasResults).length <= large.records.filter(hasResults).length);
    }),
  );
});

test('a blob goes only after those that stand on it', (t) => {
  fc.assert(
    fc.property(distinctGraphs.map(canonical), (graph) => {
      // Where each blob stands at one place only, no two can stand on each other.
      if (new Set(graph.layers.map(({ blob }) => blob)).size < graph.layers.length) return;
      const plain = { ...graph, records: graph.records.map((record) => ({ ...record, chains: [] })) };
      const order = evictionOrder([{ graph: plain, lastUsed: undefined }]);
      for (const { layer } of plain.records.flatMap(({ results }) => results)) {
        const places = Array.from(withParents(plain.layers, layer), (at) => {
          return order.indexOf(plain.layers[at]?.blob ?? ('' as never));
        });
        t.deepEqual(
          places,
          places.toSorted((a, b) => a - b),
        );
      }
    }),
  );
});

/** The order of eviction by its definition: each result is walked to its lowest layer. */
function simpleOrder(graphs: readonly UsedGraph[]): Digest[] {
  const stacks = graphs.flatMap(({ graph: { layers, records }, lastUsed }) => {
    const named = (indexes: Iterable<number>, createdAt: string) => ({
      blobs: Array.from(indexes, (index) => layers[index]?.blob ?? ('' as never)),
      time: lastUsed ?? Math.max(0, Date.parse(createdAt)),
    });
    return records.flatMap(({ results, chains }) => [
      ...results.map(({ layer, createdAt }) => named(withParents(layers, layer), createdAt)),
      ...chains.map((chain) => named(chain.layers.toReversed(), chain.createdAt)),
    ]);
  });
  const blobs = new Set(stacks.flatMap((one) => one.blobs));
  const upperOf = (blob: Digest) =>
    new Set(stacks.flatMap((one) => one.blobs.filter((up, at) => one.blobs[at + 1] === blob && up !== blob)));
  const heights = new Map<Digest, number>();
  for (let isNew = true; isNew;) {
    isNew = false;
    for (const blob of blobs) {
      const uppers = Array.from(upperOf(blob), (upper) => heights.get(upper));
      if (heights.has(blob) || uppers.includes(undefined)) continue;
      heights.set(blob, Math.max(-1, ...uppers.map((height) => height ?? 0)) + 1);
      isNew = true;
    }
  }
  const timeOf = (blob: Digest) =>
    Math.max(...stacks.filter((one) => one.blobs.includes(blob)).map(({ time }) => time));
  const sizes = new Map(graphs.flatMap(({ graph }) => [...graph.descriptors]).map(([blob, { size }]) => [blob, size]));
  return [...blobs].toSorted(
    (a, b) =>
      timeOf(a) - timeOf(b) ||
      (heights.get(a) ?? blobs.size) - (heights.get(b) ?? blobs.size) ||
      (sizes.get(b) ?? 0) - (sizes.get(a) ?? 0) ||
      (a < b ? -1 : 1),
  );
}

test('the order of eviction is that of its definition, over several caches, with chains and with blobs in both orders', (t) => {
  const used = fc.record({ graph: graphs, lastUsed: fc.option(fc.nat(3), { nil: undefined }) });
  fc.assert(
    fc.property(fc.array(used, { minLength: 1, maxLength: 3 }), (caches) => {
      t.deepEqual(evictionOrder(caches), simpleOrder(caches));
    }),
    { numRuns: 1000 },
  );
});

test('a result stays if no layer of it, as its definition walks them, goes', (t) => {
  fc.assert(
    fc.property(graphs, fc.nat(6), (graph, seed) => {
      const goes = (layer: number) => ((layer + 1) * (seed + 1)) % 4 === 0;
      const stays = (layers: Iterable<number>) => ![...layers].some(goes);
      const records = graph.records.map((record) => ({
        ...record,
        results: record.results.filter(({ layer }) => stays(withParents(graph.layers, layer))),
        chains: record.chains.filter(({ layers }) => stays(layers)),
      }));
      const isSame = JSON.stringify(records) === JSON.stringify(graph.records);
      const expected = isSame ? graph : canonical(dropUnusedLayers({ ...graph, records }));
      const left = keepResults(graph, (layer) => !goes(layer));
      t.deepEqual(left, expected);
      t.is(left === graph, isSame);
    }),
    { numRuns: 1000 },
  );
});

test('the least recently used goes first', (t) => {
  const digest = (name: string) => `sha256:${name.repeat(64)}` as never;
  const descriptors = new Map(
    ['a', 'b'].map((name) => [digest(name), { mediaType: '', digest: digest(name), size: name === 'a' ? 1 : 1000 }]),
  );
  const record = (name: string, layer: number, createdAt: string) => ({
    digest: digest(name),
    inputs: [],
    results: [{ layer, createdAt }],
    chains: [],
  });
  const graph: Graph = {
    layers: [
      { blob: digest('a'), parent: -1 },
      { blob: digest('b'), parent: -1 },
    ],
    records: [record('c', 0, '2026-01-01T00:00:00Z'), record('d', 1, '2026-02-01T00:00:00Z')],
    descriptors,
  };
  t.deepEqual(evictionOrder([{ graph, lastUsed: undefined }]), [digest('a'), digest('b')]);
  t.deepEqual(evictionOrder([{ graph, lastUsed: 5 }]), [digest('b'), digest('a')]);
});

test('keys that lead to a result stay, and the others can be dropped', (t) => {
  fc.assert(
    fc.property(distinctGraphs.map(canonical), (graph) => {
      const left = dropDeadKeys(graph);
      t.deepEqual(configFaults(left), []);
      t.is(left.records.filter(hasResults).length, graph.records.filter(hasResults).length);
      t.is(dropDeadKeys(left), left);
    }),
  );
});

test('mending leaves a sound config as it is, and makes any other one sound', (t) => {
  fc.assert(fc.property(distinctGraphs, (graph) => t.is(mend(graph), graph)));
  const wild = fc.record({
    layers: fc.array(fc.record({ blob: fc.constant('sha256:x' as never), parent: fc.integer({ min: -3, max: 6 }) }), {
      maxLength: 6,
    }),
    records: fc.array(
      fc.record({
        digest: fc.constant('sha256:y' as never),
        inputs: fc.array(
          fc.array(fc.record({ selector: fc.constant(''), link: fc.integer({ min: -2, max: 6 }) }), { maxLength: 3 }),
          { maxLength: 2 },
        ),
        results: fc.array(
          fc.record({ layer: fc.integer({ min: -2, max: 7 }), createdAt: fc.constant('0001-01-01T00:00:00Z') }),
          { maxLength: 2 },
        ),
        chains: fc.array(
          fc.record({
            layers: fc.array(fc.integer({ min: -2, max: 7 }), { maxLength: 3 }),
            createdAt: fc.constant('0001-01-01T00:00:00Z'),
          }),
          { maxLength: 2 },
        ),
      }),
      { maxLength: 6 },
    ),
  });
  fc.assert(
    fc.property(wild, (config) => {
      const mended = mend(config);
      t.deepEqual(configFaults(mended), []);
      t.is(mend(mended), mended);
      t.is(bytes({ ...mended, descriptors: new Map() }).length > 0, true);
    }),
    { numRuns: 2000 },
  );
});

test('a broken chain of a hundred thousand records is mended in one go', (t) => {
  const records = Array.from({ length: 100_000 }, (_, index) => ({
    digest: 'sha256:z' as never,
    inputs: [[{ selector: '', link: index === 0 ? -5 : index - 1 }]],
    results: [],
    chains: [],
  }));
  t.deepEqual(mend({ layers: [], records }).records, []);
});
