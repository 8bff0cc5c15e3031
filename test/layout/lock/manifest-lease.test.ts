import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { layoutReader } from '../../../src/backend/local/layout-reader.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { tryFlock } from '../../../src/layout/lock/flock.js';
import { leaseManifest, moveUnlessLeased } from '../../../src/layout/lock/manifest-lease.js';
import { openLayout } from '../../../src/layout/layout.js';
import { type Digest, sha256 } from '../../../src/oci/digest.js';
import { temporary } from '../../support/fixtures.js';
import { blobPath, copyFixture, grown, OLD } from '../../support/folders.js';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';

const isThere = (folder: string, digest: string) => existsSync(blobPath(folder, digest));

function blob(folder: string, content: string, { young = false } = {}): Digest {
  const digest = sha256(content);
  writeFileSync(blobPath(folder, digest), content);
  if (!young) utimesSync(blobPath(folder, digest), OLD, OLD);
  return digest;
}

function manifest(folder: string, layers: readonly Digest[], settings: { young?: boolean; padding?: number } = {}) {
  const descriptors = layers.map((digest) => ({ mediaType: 'x/y', digest, size: 1 }));
  const annotations = { padding: 'x'.repeat(settings.padding ?? 0) };
  const document = { schemaVersion: 2, mediaType: MANIFEST, config: descriptors[0], layers: descriptors, annotations };
  return blob(folder, JSON.stringify(document), settings);
}

const collectAll = (folder: string) => collectGarbage(folder, { grace: 0 });

for (const [what, padding] of [
  ['a manifest', 0],
  ['a manifest of 5 MiB', 5 * 1024 * 1024],
] as const) {
  test(`${what} that is held stays with its layers, whatever tags it, and goes when it is released`, async (t) => {
    const folder = grown(t);
    const layer = blob(folder, 'a layer');
    const digest = manifest(folder, [layer], { padding });
    const release = await leaseManifest(blobPath(folder, digest));
    await collectAll(folder);
    t.true(isThere(folder, digest) && isThere(folder, layer));
    await release?.();
    await collectAll(folder);
    t.false(isThere(folder, digest) || isThere(folder, layer));
  });
}

test('what is held through an index of manifests stays to the last layer', async (t) => {
  const folder = grown(t);
  const layer = blob(folder, 'a layer');
  const inner = manifest(folder, [layer]);
  const manifests = [{ mediaType: MANIFEST, digest: inner, size: 1 }];
  const outer = blob(folder, JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }));
  const release = await leaseManifest(blobPath(folder, outer));
  await collectAll(folder);
  for (const digest of [layer, inner, outer]) t.true(isThere(folder, digest));
  await release?.();
});

test('a manifest that gc moves first cannot be held afterwards; one that is held first is not moved', async (t) => {
  const folder = grown(t);
  const [first, second] = ['1', '2'].map((name) => blobPath(folder, blob(folder, `{"manifest":${name}}`)));
  if (first === undefined || second === undefined) throw new Error('there are two');
  let holding: ReturnType<typeof leaseManifest> | undefined;
  const moved = moveUnlessLeased(
    first,
    () => {
      // The reader opens the file before it is gone.
      holding = leaseManifest(first);
      writeFileSync(`${first}.x`, readFileSync(first));
    },
    tryFlock,
  );
  t.true(moved);
  const release = await holding;
  t.not(release, undefined);
  await release?.();

  const kept = await leaseManifest(second);
  t.false(moveUnlessLeased(second, () => t.fail('it is held'), tryFlock));
  await kept?.();
});

test('layers do not go before a manifest that names them: not below one that is young', async (t) => {
  const folder = grown(t);
  const layer = blob(folder, 'an old layer');
  const digest = manifest(folder, [layer], { young: true });
  await collectGarbage(folder);
  t.true(isThere(folder, digest) && isThere(folder, layer));
});

test('whoever finds a manifest while gc takes it away reads a whole cache, or finds none', async (t) => {
  const folder = grown(t);
  const index = readFileSync(join(folder, 'index.json'), 'utf8');
  const { manifests } = JSON.parse(index) as { manifests: { digest: Digest }[] };
  const layersOf = (digest: Digest) => {
    const { layers } = JSON.parse(readFileSync(blobPath(folder, digest), 'utf8')) as { layers: { digest: Digest }[] };
    return layers.map((layer) => layer.digest);
  };
  const layers = new Map(manifests.map(({ digest }) => [digest, layersOf(digest)]));
  const layout = await openLayout(folder);
  const reader = layoutReader(layout);
  let [found, gone] = [0, 0];
  for (let round = 0; round < 30; round++) {
    const aside = temporary(t);
    copyFixture('grown', aside);
    for (const { digest } of manifests) {
      for (const name of [digest, ...(layers.get(digest) ?? [])]) {
        if (!isThere(folder, name)) writeFileSync(blobPath(folder, name), readFileSync(blobPath(aside, name)));
      }
    }
    writeFileSync(join(folder, 'index.json'), index);
    const reading = (async () => {
      for (let turn = 0; turn < round % 7; turn++) await new Promise((resolve) => setImmediate(resolve));
      const held = await reader.lease?.({ tag: 'main' });
      await new Promise((resolve) => setTimeout(resolve, 20));
      const { digest = '' as Digest } = held?.descriptor ?? {};
      for (const layer of [digest, ...(layers.get(digest) ?? [])]) t.true(isThere(folder, layer), `${round}: ${layer}`);
      found++;
      await held?.[Symbol.asyncDispose]();
    })().catch((error: unknown) => {
      t.regex(String(error), /no tag|no cache/);
      gone++;
    });
    writeFileSync(join(folder, 'index.json'), '{"schemaVersion":2,"manifests":[]}');
    await Promise.all([reading, collectAll(folder)]);
  }
  t.is(found + gone, 30);
  await layout[Symbol.asyncDispose]();
});
