import test from 'ava';
import fc from 'fast-check';
import { type CacheConfig, decodeCacheConfig, encodeCacheConfig } from '../../src/buildkit/cache-config.js';
import { CacheError } from '../../src/errors.js';
import { canonical } from '../../src/graph/canonical.js';
import { checkConfig } from '../../src/graph/check.js';
import { type Graph, hasResults } from '../../src/graph/graph.js';
import { merge } from '../../src/graph/merge.js';
import { isMin, min } from '../../src/graph/min.js';
import { replaceBlobs } from '../../src/graph/replace.js';
import { saveGraph } from '../../src/graph/save.js';
import { FIXTURES, loadFixture } from '../support/fixtures.js';
import { digestOf, graphs } from '../support/graphs.js';
import { digestOfCache } from '../support/caches.js';

for (const [folder, tag] of FIXTURES) {
  test(`${folder}:${tag}: its config decodes and encodes to the same bytes, and is in canonical order`, async (t) => {
    const { saved, graph } = await loadFixture(folder, tag);
    const bytes = Buffer.from(saved?.documents[0].bytes ?? []);
    t.is(encodeCacheConfig(decodeCacheConfig(bytes, folder)).toString(), bytes.toString());
    t.is(encodeCacheConfig(canonical(graph)).toString(), bytes.toString());
    t.is(digestOfCache({ saved }), digestOfCache({ saved: saveGraph(graph, saved?.shape ?? 'index') }));
  });
}

const text = (graph: Graph) => {
  const [config, manifest] = saveGraph(graph, 'image-manifest').documents;
  return `${Buffer.from(config.bytes).toString()} ${Buffer.from(manifest.bytes).toString()}`;
};

test('any cacheconfig survives encoding and decoding', (t) => {
  fc.assert(
    fc.property(graphs, ({ layers, records }) => {
      const config: CacheConfig = { layers, records };
      t.deepEqual(decodeCacheConfig(encodeCacheConfig(config), 'test'), config);
    }),
  );
});

test('merging is commutative, associative and idempotent', (t) => {
  fc.assert(
    fc.property(graphs, graphs, graphs, (a, b, c) => {
      t.is(text(merge([a, b])), text(merge([b, a])));
      t.is(text(merge([merge([a, b]), c])), text(merge([a, merge([b, c])])));
      t.is(text(merge([merge([a, b]), b])), text(merge([a, b])));
    }),
  );
});

test('merging and replacing blobs commute, also where several blobs become one', (t) => {
  // Four blobs become two; two of them keep something of their own.
  const replacement = (name: number) => {
    const digest = digestOf(`packed ${name % 2}`);
    const annotations = { made: `${name}`, ...(name > 1 ? { [`only on ${name}`]: 'yes' } : {}) };
    return [digestOf(`blob ${name}`), { mediaType: 'y', digest, size: 9, annotations }] as const;
  };
  const replacements = new Map([0, 1, 2, 3].map(replacement));
  fc.assert(
    fc.property(graphs, graphs, graphs, fc.subarray([0, 1, 2, 3]), (a, b, c, kept) => {
      const some = new Map([...replacements].filter((_, index) => !kept.includes(index)));
      const merged = text(replaceBlobs(merge([a, b, c]), some));
      t.is(text(replaceBlobs(merge([c, a, b]), some)), merged);
      t.is(text(replaceBlobs(merge([b, a, c]), some)), merged);
      // One graph alone is left in the order that it has.
      t.is(text(canonical(merge([c, b, a].map((graph) => replaceBlobs(graph, some))))), merged);
    }),
  );
});

test('what is merged is sound', (t) => {
  fc.assert(fc.property(graphs, graphs, (a, b) => t.notThrows(() => checkConfig(merge([a, b]), 'test'))));
});

test('a cache is of mode=min when mode=min keeps it as it is', (t) => {
  fc.assert(
    fc.property(graphs, (graph) => {
      t.is(isMin(graph), min(graph) === graph);
      // Records that are equal become one record, which may be no final record any more.
      t.true(isMin(min(canonical(graph))));
    }),
  );
});

test('min is idempotent, keeps every key and never adds a layer or a result', (t) => {
  fc.assert(
    fc.property(graphs, (graph) => {
      const once = min(canonical(graph));
      t.is(min(once), once);
      const count = (g: Graph) => g.records.filter(hasResults).length;
      t.true(count(once) <= count(graph));
      t.true(once.layers.length <= graph.layers.length);
      t.is(once.records.length, canonical(graph).records.length);
    }),
  );
});

for (const [name, config] of Object.entries({
  'a layer index out of range': '{"layers":[],"records":[{"layers":[{"layer":0}],"digest":"sha256:D"}]}',
  'a link out of range': '{"records":[{"digest":"sha256:D","inputs":[[{"link":7}]]}]}',
  'a negative link': '{"records":[{"digest":"sha256:D","inputs":[[{"link":-1}]]}]}',
  'no alternatives': '{"records":[{"digest":"sha256:D","inputs":[[]]}]}',
  'a record that loops': '{"records":[{"digest":"sha256:D","inputs":[[{"link":0}]]}]}',
  'a layer that loops': '{"layers":[{"blob":"sha256:D"}]}',
  'a digest that is a path': '{"layers":[{"blob":"../../etc/passwd"}]}',
  'a wrong type': '{"records":{}}',
  'half a document': '{"records":[',
})) {
  test(`refused as corrupt: ${name}`, (t) => {
    const bytes = Buffer.from(config.replaceAll('sha256:D', digestOf('d')));
    const error = t.throws(() => checkConfig(decodeCacheConfig(bytes, 'here'), 'here'), { instanceOf: CacheError });
    t.is(error.code, 'CORRUPT');
    t.regex(error.message, /here/);
  });
}

test('a chain of a hundred thousand records is no problem', (t) => {
  const records = Array.from({ length: 100_000 }, (_, index) => ({
    digest: digestOf(`${index}`),
    inputs: index === 0 ? [] : [[{ selector: '', link: index - 1 }]],
    results: [],
    chains: [],
  }));
  const graph = { layers: [], records, descriptors: new Map() };
  t.notThrows(() => checkConfig(graph, 'test'));
  t.is(canonical(graph).records.length, records.length);
});
