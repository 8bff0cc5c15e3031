import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { prove } from '../../src/codec/proof.js';
import { CacheError } from '../../src/errors.js';
import { loadBare, saveBare, undescribedLayers } from '../../src/graph/bare.js';
import { evict } from '../../src/graph/evict.js';
import type { Graph } from '../../src/graph/graph.js';
import { dropUnusedLayers } from '../../src/graph/keep.js';
import { loadGraph } from '../../src/graph/load.js';
import { merge } from '../../src/graph/merge.js';
import { min } from '../../src/graph/min.js';
import { oversized, saveAs, saveGraph } from '../../src/graph/save.js';
import { correctedGraph, type Proof } from '../../src/graph/statement.js';
import { contentOf } from '../../src/oci/content.js';
import { CREATED_AT, type Descriptor, UNCOMPRESSED } from '../../src/oci/descriptor.js';
import type { Digest } from '../../src/oci/digest.js';
import { decodeManifest } from '../../src/oci/manifest.js';
import { contentsOf } from '../../src/oci/successors.js';
import { fixture, FIXTURES, loadFixture } from '../support/fixtures.js';
import { digestOf, graphs } from '../support/graphs.js';
import { blobPath } from '../support/folders.js';

const BUCKET = readFileSync(join(fixture('s3-bucket'), 'manifests', 'tiny'));
const D = digestOf('a layer');

const text = (graph: Graph) => Buffer.from(saveBare(graph).bytes).toString();
const reread = (graph: Graph) => loadBare(saveBare(graph).bytes, 'test');

/** A config of one layer with these annotations. */
function configWith(annotations: unknown): Buffer {
  return Buffer.from(JSON.stringify({ layers: [{ blob: D, parent: -1, annotations }] }));
}

/** What a config says of the layers of a graph, in descriptors. */
const described = fc
  .tuple(
    graphs,
    fc.array(fc.tuple(fc.nat(99), fc.boolean(), fc.constantFrom('', 'tar', 'tar+gzip', 'tar+zstd')), { minLength: 4 }),
  )
  .map(([graph, statements]): Graph => {
    const blobs = [...new Set(graph.layers.map(({ blob }) => blob))];
    const descriptors = blobs.map((digest, index): [typeof digest, Descriptor] => {
      const [size, isDated, type] = statements[index] ?? [0, false, ''];
      const annotations = {
        [UNCOMPRESSED]: digestOf(`tar ${index}`),
        ...(isDated ? { [CREATED_AT]: `2026-01-01T00:00:${10 + index}.5Z` } : {}),
      };
      const mediaType = type === '' ? '' : `application/vnd.oci.image.layer.v1.${type}`;
      return [digest, { mediaType, digest, size, annotations }];
    });
    return { ...graph, descriptors: new Map(descriptors) };
  });

test('a cache in a bucket, read and written, has the bytes that BuildKit gave it', (t) => {
  const graph = loadBare(BUCKET, 'tiny');
  t.is(text(graph), BUCKET.toString());
  t.true(graph.layers.length > 0);
  for (const { blob } of graph.layers) {
    const path = join(fixture('s3-bucket'), 'blobs', blob);
    t.is(graph.descriptors.get(blob)?.size, readFileSync(path).length);
  }
});

test('any graph whose layers have what is needed comes back as it was', (t) => {
  fc.assert(
    fc.property(described, (graph) => {
      t.deepEqual(undescribedLayers(graph), []);
      t.deepEqual(reread(graph), graph);
    }),
  );
});

test('the same cache is the same graph with a manifest and without', async (t) => {
  for (const [folder, tag] of FIXTURES) {
    const { graph } = await loadFixture(folder, tag);
    const bare = reread(graph);
    t.is(text(min(bare)), text(min(graph)), folder);
    t.deepEqual({ ...bare, descriptors: undefined }, { ...graph, descriptors: undefined }, folder);
  }
  const bucket = loadBare(BUCKET, 'tiny');
  const [config, manifest] = saveGraph(bucket, 'image-manifest').documents;
  const contents = contentsOf(decodeManifest(Buffer.from(manifest.bytes), 'test'));
  t.deepEqual(loadGraph(contents.kind === 'cache' ? contents.layers : [], config.bytes, 'test'), bucket);
});

test('merging before or after the manifest goes comes to the same', async (t) => {
  const caches = await Promise.all(FIXTURES.map(async ([folder, tag]) => (await loadFixture(folder, tag)).graph));
  for (const [index, one] of caches.entries()) {
    const other = caches[(index + 1) % caches.length] ?? one;
    t.is(text(merge([reread(one), reread(other)])), text(merge([one, other])));
  }
  t.is(text(merge([loadBare(BUCKET, 'tiny'), loadBare(BUCKET, 'tiny')])), BUCKET.toString());
});

for (const [name, bytes, field, message] of [
  [
    'a layer without annotations',
    configWith(undefined),
    'layers.0.annotations',
    /expected an object but found nothing/,
  ],
  ['annotations that are null', configWith(null), 'layers.0.annotations', /expected an object but found nothing/],
  ['annotations of another kind', configWith([]), 'layers.0.annotations', /expected an object but found \[\]/],
  [
    'a layer without a diffID',
    configWith({ size: 1 }),
    'layers.0.annotations.diffID',
    /expected a digest but found nothing/,
  ],
  ['an empty diffID', configWith({ diffID: '' }), 'layers.0.annotations.diffID', /expected a digest/],
  ['a diffID that is none', configWith({ diffID: 'x' }), 'layers.0.annotations.diffID', /"x" is not a digest/],
  [
    'a size that is none',
    configWith({ diffID: D, size: -1 }),
    'layers.0.annotations.size',
    /expected a size but found -1/,
  ],
  ['a size in text', configWith({ diffID: D, size: '1' }), 'layers.0.annotations.size', /expected a whole number/],
  [
    'a date that does not exist',
    configWith({ diffID: D, createdAt: '2026-02-30T00:00:00Z' }),
    'layers.0.annotations.createdAt',
    /is not an RFC 3339 time/,
  ],
  ['data behind the JSON', Buffer.from(`${BUCKET.toString()}{}`), undefined, /is not JSON/],
  ['an index out of range', Buffer.from('{"records":[{"layers":[{"layer":0}]}]}'), undefined, /names layer 0/],
] as const) {
  test(`what BuildKit refuses is refused: ${name}`, (t) => {
    const error = t.throws(() => loadBare(bytes, 'here'), { instanceOf: CacheError, message });
    t.is(error.code, 'CORRUPT');
    t.is(error.field, field);
    t.true(error.message.startsWith('here'));
  });
}

test('what BuildKit does without may be missing', (t) => {
  for (const [annotations, expected] of [
    [{ diffID: D }, { mediaType: '', size: 0, createdAt: undefined }],
    [
      { DiffId: D, Size: 7, other: 1 },
      { mediaType: '', size: 7, createdAt: undefined },
    ],
    [
      { diffID: D, createdAt: null },
      { mediaType: '', size: 0, createdAt: undefined },
    ],
    [
      { diffID: D, createdAt: '0001-01-01T00:00:00Z' },
      { mediaType: '', size: 0, createdAt: undefined },
    ],
    [
      { diffID: D, createdAt: '0001-01-01T01:30:00+01:30' },
      { mediaType: '', size: 0, createdAt: undefined },
    ],
    [
      { mediaType: 'x', diffID: D, createdAt: '2026-01-01T01:00:00.50+01:00' },
      { mediaType: 'x', size: 0, createdAt: '2026-01-01T01:00:00.5+01:00' },
    ],
  ] as const) {
    const layer = loadBare(configWith(annotations), 'here').descriptors.get(D);
    const { mediaType, size, annotations: { [UNCOMPRESSED]: diffID, [CREATED_AT]: createdAt } = {} } = layer ?? {};
    t.deepEqual({ mediaType, size, createdAt } as object, expected);
    t.is(diffID, D);
  }
  t.deepEqual(loadBare(Buffer.from('{}'), 'here'), { layers: [], records: [], descriptors: new Map() });
});

test('of a layer that stands there twice the last annotations count', (t) => {
  const layers = [1, 2].map((size) => ({ blob: D, parent: -1, annotations: { diffID: D, size } }));
  t.is(loadBare(Buffer.from(JSON.stringify({ layers })), 'here').descriptors.get(D)?.size, 2);
});

test('a date is written in UTC, and one that is none is left out', (t) => {
  const graph = loadBare(configWith({ diffID: D }), 'here');
  const dated = (createdAt: string): Graph => {
    const annotations = { [UNCOMPRESSED]: D, [CREATED_AT]: createdAt };
    return { ...graph, descriptors: new Map([[D, { mediaType: 'x', digest: D, size: 1, annotations }]]) };
  };
  for (const [said, written] of [
    ['2026-01-01T00:30:00.123+01:00', '2025-12-31T23:30:00.123Z'],
    ['2026-01-01T00:00:00.100Z', '2026-01-01T00:00:00.1Z'],
    ['today', '0001-01-01T00:00:00Z'],
    ['', '0001-01-01T00:00:00Z'],
    ['0000-01-01T00:00:00+01:00', '0001-01-01T00:00:00Z'],
  ] as const) {
    t.true(text(dated(said)).includes(`"createdAt":"${written}"`), said);
  }
});

test('layers without a diffID are named; proven or gone, the cache can be written', async (t) => {
  const { graph } = await loadFixture('max-gzip');
  const [unlisted, untold, misspelt] = [...graph.descriptors.values()];
  if (unlisted === undefined || untold === undefined || misspelt === undefined) return t.fail();
  const without = ({ annotations, ...layer }: Descriptor, diffID: object): Descriptor => {
    const { [UNCOMPRESSED]: _, ...others } = annotations ?? {};
    return { ...layer, annotations: { ...others, ...diffID } };
  };
  const descriptors = new Map(graph.descriptors);
  descriptors.delete(unlisted.digest);
  descriptors.set(untold.digest, without(untold, {}));
  descriptors.set(misspelt.digest, without(misspelt, { [UNCOMPRESSED]: 'sha256:x' }));
  const lacking = { ...graph, descriptors };
  const named = undescribedLayers(lacking);
  t.deepEqual(new Set(named), new Set([unlisted.digest, untold.digest, misspelt.digest]));
  const error = t.throws(() => saveBare(lacking), { instanceOf: CacheError });
  t.is(error.code, 'FAILED');
  t.true(named.some((digest) => error.message.includes(digest)));

  const proofs = new Map<Digest, Proof>();
  for (const { digest, size } of [untold, misspelt]) {
    const content = contentOf(readFileSync(blobPath(fixture('max-gzip'), digest)));
    proofs.set(digest, await prove(content, { digest, sizes: [size], layer: 'whole', where: 'test' }));
  }
  const proven = correctedGraph(lacking, proofs);
  t.deepEqual(undescribedLayers(proven), [unlisted.digest]);
  const left = dropUnusedLayers(evict(proven, new Set([unlisted.digest])));
  t.deepEqual(undescribedLayers(left), []);
  t.is(text(left), text(dropUnusedLayers(evict(graph, new Set([unlisted.digest])))));
  // Also where no result needs the layer.
  const unused = { ...lacking, records: lacking.records.map((record) => ({ ...record, results: [], chains: [] })) };
  t.deepEqual(undescribedLayers(dropUnusedLayers(evict(unused, new Set(named)))), []);
});

test('another graph is saved in the form of the first, and without a manifest no size is too large', async (t) => {
  for (const [folder, tag] of FIXTURES) {
    const { graph, saved } = await loadFixture(folder, tag);
    if (saved === undefined) return t.fail();
    t.deepEqual(
      saveAs(saved, graph).documents.map(({ descriptor }) => descriptor.digest),
      saved.documents.map(({ descriptor }) => descriptor.digest),
    );
  }
  const graph = loadBare(BUCKET, 'tiny');
  const saved = saveAs({ shape: undefined }, graph);
  t.is(Buffer.from(saved.documents[0].bytes).toString(), BUCKET.toString());
  t.is(saved.documents.length, 1);
  const records = Array.from({ length: 12_000 }, (_, index) => ({
    digest: digestOf(`${index}`),
    inputs: [],
    results: [],
    chains: [],
  }));
  t.is(oversized(saveAs({ shape: undefined }, { ...graph, records })).length, 0);
  t.is(oversized(saveAs({ shape: 'index' }, { ...graph, records })).length, 1);
});
