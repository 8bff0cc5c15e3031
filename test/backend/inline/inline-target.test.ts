import test from 'ava';
import { inlineTarget } from '../../../src/backend/inline/inline-target.js';
import { layoutRepository } from '../../../src/backend/local/layout-repository.js';
import { openLayout } from '../../../src/layout/layout.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { copyText } from '../../../src/report/text/copy.js';
import { copyOne } from '../../support/caches.js';
import { importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { contentsOf } from '../../support/folders.js';
import {
  type Entry,
  ImageFolder,
  imageWithoutCache,
  indexWithoutCaches,
  MULTI,
  refusal,
  SINGLE,
  spaced,
  THEIR_INDEX,
  THEIRS,
} from '../../support/image.js';

for (const how of [
  '',
  ',compression=zstd,force-compression=true',
  ',image-manifest=false',
  ',compression=uncompressed',
]) {
  test(`what was taken out of an image${how} goes back in as BuildKit had written it, to the byte`, async (t) => {
    const cache = temporary(t);
    await copyOne(SINGLE, `type=local,dest=${cache}${how}`);
    const image = imageWithoutCache(t);
    t.not(image.top.digest, THEIRS);
    const result = await copyOne(`type=local,src=${cache}`, `type=inline,dest=${image.path},tag=inline`);
    t.is(result.descriptor.digest, THEIRS);
    t.deepEqual(image.index, new ImageFolder(t, 'inline-image').index);
    t.like(result.images, [{ platform: 'linux/amd64', others: [] }]);
    t.is(result.images?.[0]?.fitting.length, 4);
    t.is(result.bytesRead, 0);
  });
}

test('each platform of an index gets its own', async (t) => {
  const image = indexWithoutCaches(t);
  const result = await copyOne(MULTI, `type=inline,dest=${image.path},tag=multi,mode=min`);
  t.is(result.descriptor.digest, THEIR_INDEX);
  t.deepEqual(
    result.images?.map(({ platform, fitting }) => [platform, fitting.length]),
    [
      ['linux/amd64', 4],
      ['linux/arm64', 4],
    ],
  );
});

test('the very cache that is there already changes nothing', async (t) => {
  const image = new ImageFolder(t, 'inline-multiplatform');
  const before = contentsOf(image.path);
  const result = await copyOne(MULTI, `type=inline,dest=${image.path},tag=multi`);
  t.is(result.descriptor.digest, THEIR_INDEX);
  t.deepEqual(contentsOf(image.path), before);
});

test('a copy says which records fit and which did not, and for want of which layers', async (t) => {
  const image = imageWithoutCache(t);
  const merged = await copyCache({
    imports: [SINGLE, importOf('max-gzip')],
    exports: [`type=inline,dest=${image.path},tag=inline`],
  });
  const [fit] = merged.exports[0]?.images ?? [];
  t.is(fit?.fitting.length, 4);
  t.is(fit?.others.length, 3);
  const missing = fit?.others.flatMap(({ missingLayers }) => missingLayers) ?? [];
  const { graph } = await loadFixture('max-gzip');
  t.true(missing.length >= 3 && missing.every((layer) => graph.descriptors.has(layer)));
  t.is(image.top.digest, THEIRS);
  t.regex(
    copyText(merged),
    /inline in linux\/amd64: 4 of 7 records with results consist of its layers\n {4}kept: 136d/,
  );
  t.regex(copyText(merged), /\n {4}not: [0-9a-f]{12}, [0-9a-f]{12}, [0-9a-f]{12}\n/);
});

test('a cache of which nothing fits leaves the image alone, unless another platform takes some', async (t) => {
  const image = new ImageFolder(t, 'inline-image');
  const before = contentsOf(image.path);
  const error = await refusal(t, copyOne(importOf('grown', 'main'), `type=inline,dest=${image.path},tag=inline`));
  t.is(error.code, 'FAILED');
  t.regex(error.message, /nothing in the import consists of the layers/);
  t.deepEqual(contentsOf(image.path), before);

  // The second platform has other layers.
  const two = indexWithoutCaches(t, (index, folder) => {
    const [first, second] = index.manifests as [Entry, Entry];
    const diffID = `sha256:${'1'.repeat(64)}`;
    const strange = folder.changeConfig(second.digest, (config) => config.replaceAll(/sha256:[0-9a-f]{64}/g, diffID));
    return spaced({
      ...index,
      manifests: [first, { ...second, ...folder.put(strange.replaceAll(/sha256:(96|bd|4f)/g, 'sha256:00')) }],
    });
  });
  const [, untouched] = (two.json(two.top.digest) as { manifests: [Entry, Entry] }).manifests;
  const result = await copyOne(SINGLE, `type=inline,dest=${two.path},tag=multi`);
  t.deepEqual(
    result.images?.map(({ fitting }) => fitting.length),
    [4, 0],
  );
  t.is((two.json(two.top.digest) as { manifests: [Entry, Entry] }).manifests[1].digest, untouched.digest);
});

test('targets that are none, and options that make no sense, are refused', async (t) => {
  const image = new ImageFolder(t, 'inline-image');
  const before = contentsOf(image.path);
  const cache = temporary(t);
  await copyOne(SINGLE, `type=local,dest=${cache}`);
  for (const [target, code, message] of [
    [`type=inline,dest=${image.path},tag=other`, 'NOT_FOUND', /no tag "other"/],
    [`type=inline,dest=${image.path}`, 'NOT_FOUND', /no tag "latest"/],
    [`type=inline,dest=${image.path}-not`, 'NOT_FOUND', /no folder/],
    [`type=inline,dest=${cache}`, 'NOT_FOUND', /is a build cache and not an image/],
    [`type=inline,dest=${image.path},ref=example.com/a:b`, 'USAGE', /no dest= together with ref=/],
    [`type=inline,tag=inline,ref=example.com/a:b`, 'USAGE', /no tag= together with ref=/],
  ] as const) {
    const error = await refusal(t, copyOne(SINGLE, target));
    t.is(error.code, code, target);
    t.regex(error.message, message);
    if (code === 'NOT_FOUND') t.is(error.side, 'export', target);
  }
  t.deepEqual(contentsOf(image.path), before);
});

test('an image that somebody else pushes in the meantime is theirs', async (t) => {
  const image = imageWithoutCache(t);
  const repository = layoutRepository(await openLayout(image.path), 'copy');
  const target = await inlineTarget(repository, 'inline');
  const { graph } = await loadFixture('inline-image', 'inline');
  image.retag(image.text(image.top.digest).replace('{', '{ '));
  const moved = image.index;
  const error = await refusal(t, target.publish({ graph, shape: undefined, saved: undefined }));
  t.is(error.code, 'BUSY');
  t.deepEqual(image.index, moved);
  await target[Symbol.asyncDispose]();
});
