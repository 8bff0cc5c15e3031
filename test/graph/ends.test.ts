import test from 'ava';
import fc from 'fast-check';
import type { CacheRecord } from '../../src/buildkit/cache-config.js';
import { canonical } from '../../src/graph/canonical.js';
import { links } from '../../src/graph/check.js';
import { endsOf, JOIN, joinEnds, withoutJoin } from '../../src/graph/ends.js';
import { evict } from '../../src/graph/evict.js';
import type { Graph } from '../../src/graph/graph.js';
import { loadGraph } from '../../src/graph/load.js';
import { merge } from '../../src/graph/merge.js';
import { min } from '../../src/graph/min.js';
import { saveGraph } from '../../src/graph/save.js';
import { smallest } from '../../src/graph/smallest.js';
import { decodeManifest } from '../../src/oci/manifest.js';
import { contentsOf } from '../../src/oci/successors.js';
import { FIXTURES, loadFixture } from '../support/fixtures.js';
import { digestOf, distinctGraphs, graphs } from '../support/graphs.js';

/** Writes a graph and reads it again. */
function reread(graph: Graph): Graph {
  const [config, manifest] = saveGraph(graph, 'image-manifest').documents;
  const contents = contentsOf(decodeManifest(Buffer.from(manifest.bytes), 'test'));
  return loadGraph(contents.kind === 'cache' ? contents.layers : [], config.bytes, 'test');
}

const recordsIn = (graph: Graph) => {
  const [config] = saveGraph(graph, 'image-manifest').documents;
  return (JSON.parse(Buffer.from(config.bytes).toString()) as { records: unknown[] }).records;
};
const text = (graph: Graph) => Buffer.from(saveGraph(graph, 'image-manifest').documents[0].bytes).toString();

test('a cache has one end when it is written, under which every end is an input of its own', (t) => {
  fc.assert(
    fc.property(distinctGraphs, ({ records }) => {
      const ends = endsOf(records);
      const joined = joinEnds(records);
      t.is(endsOf(joined).length, 1);
      t.deepEqual(joined.slice(0, records.length), records);
      const [join, ...more] = joined.slice(records.length);
      t.deepEqual(more, []);
      if (ends.length === 1) return t.is(joined, records);
      t.deepEqual(
        join?.inputs,
        ends.map((link) => [{ selector: '', link }]),
      );
      return t.deepEqual([...(join?.results ?? []), ...(join?.chains ?? [])], []);
    }),
  );
});

test('what is read is what was written: nobody but BuildKit sees the record that joins the ends', (t) => {
  fc.assert(
    fc.property(graphs, (graph) => {
      t.deepEqual(reread(graph).records, graph.records);
      t.deepEqual(withoutJoin(joinEnds(graph.records)), graph.records);
      t.is(text(reread(graph)), text(graph));
    }),
  );
});

test('edits come to the same with a cache that was written before and one that was not', (t) => {
  fc.assert(
    fc.property(graphs, graphs, graphs, fc.nat(3), (a, b, c, blob) => {
      t.is(text(merge([reread(a), reread(b)])), text(merge([a, b])));
      t.is(text(merge([reread(merge([c, a])), b])), text(merge([reread(merge([b, a])), c])));
      t.is(text(min(reread(a))), text(min(a)));
      const gone = new Set([digestOf(`blob ${blob}`)]);
      t.is(text(evict(reread(a), gone)), text(evict(a, gone)));
      t.is(text(canonical(reread(a))), text(canonical(a)));
    }),
  );
});

test('the record that joins the ends counts in what the smallest form of a graph takes', (t) => {
  fc.assert(
    fc.property(distinctGraphs, (graph) => {
      const tars = new Map(graph.layers.map(({ blob }) => [blob, blob]));
      t.is(recordsIn(smallest(graph, tars)).length, joinEnds(graph.records).length);
      t.true(text(smallest(graph, tars)).length <= text(graph).length);
    }),
  );
});

test('caches of one end, and those without any record, are written as they are', async (t) => {
  t.deepEqual(joinEnds([]), []);
  for (const [folder, tag] of FIXTURES) {
    const { graph } = await loadFixture(folder, tag);
    t.is(joinEnds(graph.records), graph.records, folder);
    t.is(withoutJoin(graph.records), graph.records, folder);
  }
});

const record = (name: string, ...inputs: number[]): CacheRecord => ({
  digest: name === 'join' ? JOIN : digestOf(name),
  inputs: inputs.map((link) => [{ selector: '', link }]),
  results: [],
  chains: [],
});

test('a join that does not reach every end any more is replaced by one that does', (t) => {
  const graph = { layers: [], descriptors: new Map() };
  const [a, b, c] = [record('a'), record('b'), record('c')];
  // Somebody has put a record behind the join, in a place where BuildKit's order would not have it.
  const outdated = { ...graph, records: [a, record('join', 0, 2), b, c] };
  t.deepEqual(reread(outdated).records, [a, b, c]);
  t.is(endsOf(joinEnds(reread(outdated).records)).length, 1);
});

test('a record of that digest that has a use is a record as any other', (t) => {
  const linked = [record('a'), record('b'), record('join', 0, 1), record('c', 2)];
  t.is(joinEnds(linked), linked);
  t.deepEqual(withoutJoin(linked), linked);
  // Joined with another end, it comes back as it was.
  const more = [...linked, record('d')];
  t.is(endsOf(joinEnds(more)).length, 1);
  t.deepEqual(withoutJoin(joinEnds(more)), more);
  const result = { ...record('join', 0), results: [{ layer: 0, createdAt: '2026-01-01T00:00:00Z' }] };
  t.deepEqual(withoutJoin([record('a'), result]), [record('a'), result]);
});

test('ten thousand ends are joined in the order of BuildKit, without a change of place for any record', (t) => {
  const records = Array.from({ length: 10_000 }, (_, index) => record(`${index}`)).toSorted((a, b) =>
    a.digest < b.digest ? -1 : 1,
  );
  const joined = joinEnds(records);
  t.is(joined.at(-1)?.digest, JOIN);
  t.is(links(joined.at(-1)).length, records.length);
  t.true(joined.every(({ digest }) => digest <= JOIN));
  t.deepEqual(withoutJoin(joined), records);
});
