import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { type CacheRecord, decodeRecords } from '../../src/buildkit/cache-config.js';
import { ZERO_TIME } from '../../src/oci/go-time.js';
import { CacheError } from '../../src/errors.js';
import { canonical } from '../../src/graph/canonical.js';
import { endsOf } from '../../src/graph/ends.js';
import { type Graph, withParents } from '../../src/graph/graph.js';
import { describeLayers, recordsByFit, graphForImage, fromInline, toInline } from '../../src/graph/inline.js';
import { merge } from '../../src/graph/merge.js';
import { type Descriptor, UNCOMPRESSED } from '../../src/oci/descriptor.js';
import { decodeImageConfig } from '../../src/oci/image.js';
import { fixture, loadFixture } from '../support/fixtures.js';
import { digestOf, graphs } from '../support/graphs.js';

const layer = (name: string, diffID: string): Descriptor => ({
  mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
  digest: digestOf(name),
  size: 1,
  annotations: { [UNCOMPRESSED]: diffID },
});

/** The image whose layers are, from below, these blobs of a graph in another compression. */
const imageOf = (graph: Graph, ...blobs: readonly string[]) =>
  blobs.map((blob) => layer(`image ${blob}`, diffIDOf(graph, blob)));

const diffIDOf = (graph: Graph, blob: string) =>
  [...graph.descriptors.values()].find(({ digest }) => digest === blob)?.annotations?.[UNCOMPRESSED] ?? 'none';

const untimed = (records: readonly CacheRecord[]) =>
  records.map(({ results, ...record }) => ({ ...record, results: results.map((result) => result.layer) }));

test("of a build's max cache the same goes into its image as BuildKit put there", async (t) => {
  const { graph } = await loadFixture('max-gzip');
  const path = join(
    fixture('inline-image'),
    'blobs/sha256/5dc0fae8f0ce2fd4993748c8ef95eec4149776466f06f15705f22732ad0a0f58',
  );
  const theirs = decodeRecords(decodeImageConfig(readFileSync(path), 'fixture').cache ?? Buffer.of(), 'fixture');
  const top = graph.records.find(({ digest }) => digest.startsWith('sha256:136d55a4'))?.results[0]?.layer ?? -1;
  const blobs = [...withParents(graph.layers, top)].map((index) => graph.layers[index]?.blob ?? '').toReversed();
  t.is(blobs.length, 3);
  const ours = toInline(graph, imageOf(graph, ...blobs));
  t.deepEqual(untimed(ours), untimed(theirs));
  t.deepEqual(
    ours.flatMap(({ chains }) => chains),
    [{ layers: [1], createdAt: ZERO_TIME }],
  );
});

/** A graph whose blobs are gzip of some tar, and an image that has some of these tars as zstd, one of them twice maybe. */
const cases = fc.tuple(graphs, fc.array(fc.nat(4), { minLength: 1, maxLength: 5 })).map(([graph, tars]) => ({
  graph: {
    ...graph,
    descriptors: new Map(
      [0, 1, 2, 3].map((blob) => [digestOf(`blob ${blob}`), { ...layer(`blob ${blob}`, digestOf(`tar ${blob}`)) }]),
    ),
  } satisfies Graph,
  image: tars.map((tar) => layer(`zstd ${tar}`, digestOf(`tar ${tar}`))),
}));

/** Each record's results as lists of diffIDs, in no order. */
function resultsOf({ layers, records, descriptors }: Graph): string[][] {
  const name = (index: number) => descriptors.get(layers[index]?.blob ?? digestOf(''))?.annotations?.[UNCOMPRESSED];
  return records.map(({ results, chains }) => {
    const stacks = [
      ...results.map(({ layer: top }) => [...withParents(layers, top)].toReversed()),
      ...chains.map((chain) => chain.layers),
    ];
    return [...new Set(stacks.map((stack) => stack.map(name).join()))].toSorted();
  });
}

test('what is read back from an image is what of the cache fits it', (t) => {
  fc.assert(
    fc.property(cases, ({ graph, image }) => {
      const fitting = canonical(graphForImage(graph, image));
      const back = fromInline(image, toInline(graph, image), 'test');
      t.deepEqual(
        back.records.map(({ digest, inputs }) => ({ digest, inputs })),
        fitting.records.map(({ digest, inputs }) => ({ digest, inputs })),
      );
      t.deepEqual(resultsOf(back), resultsOf(fitting));
      t.deepEqual(
        toInline(back, image).map(({ chains }) => chains),
        toInline(graph, image).map(({ chains }) => chains),
      );
    }),
  );
});

test('an inline cache has one end at most: its image is read as a cache of its own', (t) => {
  fc.assert(
    fc.property(cases, ({ graph, image }) => {
      const records = toInline(graph, image);
      t.true(endsOf(records).length <= 1);
      t.deepEqual(toInline(fromInline(image, records, 'test'), image).length, records.length);
    }),
  );
});

test('a result is kept when the image has all its layers, and only then; a key when it leads to one', (t) => {
  fc.assert(
    fc.property(cases, ({ graph, image }) => {
      const tars = new Set(image.map(({ annotations }) => annotations?.[UNCOMPRESSED]));
      const whole = resultsOf(graph).map((results) =>
        results.filter((r) => r.split(',').every((tar) => tars.has(tar))),
      );
      const { fitting, others } = recordsByFit(graph, image);
      t.is(fitting.length, whole.filter((results) => results.length > 0).length);
      t.is(others.length, resultsOf(graph).length - fitting.length - graph.records.filter(without).length);
      for (const { missingLayers } of others) t.true(missingLayers.length > 0);
      const kept = graphForImage(graph, image);
      t.true(kept.records.every((_, index) => leadsToResult(kept, index)));
      t.deepEqual(canonical(graphForImage(kept, image)), canonical(kept));
    }),
  );
});

const NOTHING: CacheRecord = { digest: digestOf(''), inputs: [], results: [], chains: [] };
const without = ({ results, chains }: CacheRecord) => results.length + chains.length === 0;

/** Whether a record has a result, or is an input of one that leads to a result. */
function leadsToResult(graph: Graph, index: number): boolean {
  const { records } = graph;
  const users = [...records.keys()].filter((user) => records[user]?.inputs.flat().some(({ link }) => link === index));
  return !without(records[index] ?? NOTHING) || users.some((user) => leadsToResult(graph, user));
}

test('images of several platforms have in them what each would have alone', (t) => {
  fc.assert(
    fc.property(cases, cases, ({ graph, image }, { image: other }) => {
      const union = merge([graphForImage(graph, image), graphForImage(graph, other)]);
      t.deepEqual(toInline(union, image), toInline(graph, image));
      t.deepEqual(toInline(union, other), toInline(graph, other));
    }),
  );
});

test('layers get diffIDs, dates and steps from the config, in which empty steps count for nothing', (t) => {
  const config = {
    os: 'linux',
    architecture: 'arm64',
    variant: 'v8',
    rootfs: { diff_ids: [digestOf('a'), digestOf('b')] },
    history: [
      { created: '2026-01-02T03:04:05.600Z', created_by: 'RUN a' },
      { created_by: 'ENV x=y', empty_layer: true },
      { created: null },
    ],
  };
  const content = decodeImageConfig(Buffer.from(JSON.stringify(config)), 'test');
  t.is(content.platform, 'linux/arm64/v8');
  const [first, second] = describeLayers([layer('1', ''), layer('2', '')], content);
  t.deepEqual(first?.annotations, {
    'buildkit/createdat': '2026-01-02T03:04:05.6Z',
    'buildkit/description': 'RUN a',
    [UNCOMPRESSED]: digestOf('a'),
  });
  t.deepEqual(second?.annotations, { [UNCOMPRESSED]: digestOf('b') });
});

test('records that name layers which the image does not have are corrupt', (t) => {
  const records = decodeRecords(Buffer.from(`[{"layers":[{"layer":1}],"digest":"${digestOf('x')}"}]`), 'here');
  t.throws(() => fromInline([layer('a', digestOf('a'))], records, 'here'), {
    instanceOf: CacheError,
    message: /here: record 0 names layer 1/,
  });
});
