import test from 'ava';
import { ZERO_TIME } from '../../src/oci/go-time.js';
import { canonical } from '../../src/graph/canonical.js';
import type { Graph } from '../../src/graph/graph.js';
import { evict, evictionOrder } from '../../src/graph/evict.js';
import { describeLayers, recordsByFit } from '../../src/graph/inline.js';
import { merge } from '../../src/graph/merge.js';
import { min } from '../../src/graph/min.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { OCI_LAYER } from '../../src/oci/media-types.js';
import { checkCache } from '../../src/operations/verify/check-cache.js';
import { Needs } from '../../src/operations/verify/need.js';
import { Origin } from '../../src/operations/verify/origin.js';
import { Report } from '../../src/operations/verify/report.js';

const COUNT = 125_000;

/** A stack of layers as high as it gets, each of the same blob or of its own, with a result on each of the last ones. */
function stack(blobOf: (index: number) => Digest): Graph {
  const layers = Array.from({ length: COUNT }, (_, index) => ({ blob: blobOf(index), parent: index - 1 }));
  const records = Array.from({ length: 10 }, (_, index) => ({
    digest: sha256(`${index}`),
    inputs: [],
    results: [{ layer: COUNT - 1 - index, createdAt: ZERO_TIME }],
    chains: [],
  }));
  const blobs = new Set(layers.map(({ blob }) => blob));
  const descriptors = new Map([...blobs].map((digest) => [digest, { mediaType: OCI_LAYER, digest, size: 1 }]));
  return { layers, records, descriptors };
}

const one = sha256('one');
for (const [name, blobOf] of [
  ['of one blob', () => one],
  ['of two blobs', (index: number) => sha256(`${index % 2}`)],
  ['of blobs of their own', (index: number) => sha256(`${index}`)],
] as const) {
  test(`a stack of 125,000 layers ${name} is put in order, merged and cut down`, (t) => {
    const graph = canonical(stack(blobOf));
    t.is(graph.layers.length, COUNT);
    // To compare objects of that size takes minutes.
    t.is(JSON.stringify(canonical(graph).layers), JSON.stringify(graph.layers));
    t.is(merge([graph, graph]).layers.length, COUNT);
    t.is(min(graph).records.length, 10);
  });
}

test('a chain of 125,000 records, each with a result on the layer of the one before, is cut down and checked', (t) => {
  const { layers, descriptors } = stack((index) => sha256(`${index}`));
  const records = layers.map((_, index) => ({
    digest: sha256(`record ${index}`),
    inputs: index === 0 ? [] : [[{ selector: '', link: index - 1 }]],
    results: [{ layer: index, createdAt: `2026-01-01T00:00:00Z` as const }],
    chains: [],
  }));
  const graph: Graph = { layers, records, descriptors };
  t.is(min(graph), graph);
  const order = evictionOrder([{ graph, lastUsed: undefined }]);
  t.is(order[0], layers.at(-1)?.blob);
  t.is(evict(graph, new Set(order.slice(0, 5))).layers.length, COUNT - 5);
  const report = new Report();
  const context = { report, needs: new Needs(), origin: new Origin('latest') };
  const descriptor = { mediaType: '', digest: one, size: 1 };
  const config = { size: 1, fault: undefined, config: { layers, records } };
  // The lowest layer is not listed: every result needs it.
  checkCache(context, { digest: one, size: 1, layers: [...descriptors.values()].slice(1), descriptor, config });
  const findings = report.findings();
  t.is(findings.length, COUNT);
  t.true(findings.every(({ message }) => message.includes(layers[0]?.blob ?? '')));
});

test('an image with one layer 20,000 times takes a cache', (t) => {
  const diffIDs = Array.from({ length: 20_000 }, () => one);
  const layers = diffIDs.map((digest) => ({ mediaType: OCI_LAYER, digest, size: 1 }));
  const described = describeLayers(layers, { platform: 'x/y', diffIDs, history: [], cache: undefined });
  const graph: Graph = { layers: [{ blob: one, parent: -1 }], records: [], descriptors: new Map() };
  t.deepEqual(recordsByFit(graph, described), { fitting: [], others: [] });
});

test('a finding can concern 125,000 documents', (t) => {
  const report = new Report();
  const origins = Array.from({ length: COUNT }, (_, index) => new Origin(`${index}`));
  report.say({ kind: 'missing', message: 'x' }, origins);
  t.is(report.findings()[0]?.tags.length, COUNT);
});
