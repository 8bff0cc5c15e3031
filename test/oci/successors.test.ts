import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { decodeCacheConfig } from '../../src/buildkit/cache-config.js';
import { type Digest, parseDigest } from '../../src/oci/digest.js';
import { decodeManifest } from '../../src/oci/manifest.js';
import {
  attestedImage,
  type Contents,
  contentsOf,
  isAttestation,
  manifestIn,
  successorsIn,
} from '../../src/oci/successors.js';
import { fixture, FIXTURES, loadFixture } from '../support/fixtures.js';

const D = parseDigest(`sha256:${'d'.repeat(64)}`, 'test');

/** All manifests of a folder, at whatever depth. */
function manifestsIn(folder: string): { bytes: Buffer; contents: Contents }[] {
  const blobs = join(fixture(folder), 'blobs', 'sha256');
  return readdirSync(blobs).flatMap((name) => {
    const bytes = readFileSync(join(blobs, name));
    return manifestIn(bytes) === undefined ? [] : [{ bytes, contents: contentsOf(decodeManifest(bytes, name)) }];
  });
}

function named(contents: Contents): Digest[] {
  const all = contents.kind === 'index' ? contents.manifests : [contents.config, ...contents.layers];
  return all.map(({ digest }) => digest);
}

test('a cache names its config and its layers, in either shape', async (t) => {
  for (const [folder, tag] of FIXTURES) {
    const { saved, graph } = await loadFixture(folder, tag);
    const [config, manifest] = saved?.documents ?? [];
    const contents = contentsOf(decodeManifest(Buffer.from(manifest?.bytes ?? []), folder));
    t.is(contents.kind, 'cache', folder);
    t.deepEqual(named(contents)[0], config?.descriptor.digest, folder);
    t.deepEqual(new Set(named(contents).slice(1)), new Set(graph.layers.map(({ blob }) => blob)), folder);
  }
});

test('an image names its config and its layers, and an index the images and what is said about them', (t) => {
  const all = manifestsIn('inline-multiplatform').map(({ contents }) => contents);
  const kinds = all.map(({ kind }) => kind).toSorted();
  t.deepEqual([...new Set(kinds)], ['image', 'index']);
  for (const contents of all) {
    if (contents.kind !== 'index') continue;
    const attestations = contents.manifests.filter(isAttestation);
    const others = contents.manifests.filter((entry) => !isAttestation(entry));
    const images = new Set(others.map(({ digest }) => digest));
    for (const entry of attestations) t.true(images.has(attestedImage(entry) ?? D));
    for (const entry of others) t.is(attestedImage(entry), undefined);
  }
});

test('what BuildKit reads in a manifest is among what a manifest may name', (t) => {
  let count = 0;
  for (const folder of [...new Set(FIXTURES.map(([name]) => name)), 'inline-image', 'inline-multiplatform']) {
    for (const { bytes, contents } of manifestsIn(folder)) {
      const found = new Set(successorsIn(bytes).map(({ digest }) => digest));
      for (const digest of named(contents)) t.true(found.has(digest), folder);
      count++;
    }
  }
  t.true(count > FIXTURES.length);
});

test('the layers of a cacheconfig without a manifest are among what it may name', (t) => {
  const bytes = readFileSync(join(fixture('s3-bucket'), 'manifests', 'tiny'));
  const found = new Set(successorsIn(bytes).map(({ digest }) => digest));
  const { layers } = decodeCacheConfig(bytes, 'tiny');
  t.true(layers.length > 0);
  for (const { blob } of layers) t.true(found.has(blob));
});

test('a referrer names its subject, whatever else it is', (t) => {
  const referrer = (fields: object) => Buffer.from(JSON.stringify({ ...fields, subject: { digest: D } }));
  for (const fields of [{ manifests: [] }, { config: {}, layers: [] }, { mediaType: 'application/x' }, {}]) {
    t.deepEqual(manifestIn(referrer(fields)), { subject: D });
    t.true(successorsIn(referrer(fields)).some(({ digest, document }) => digest === D && document !== 'no'));
  }
  t.is(manifestIn(Buffer.from('{"records":[]}')), undefined);
  t.is(manifestIn(Buffer.from('{"config":{},"layers":[]')), undefined);
});
