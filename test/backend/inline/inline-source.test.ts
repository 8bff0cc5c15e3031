import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { importArguments } from '../../../src/operations/import-args.js';
import { inspectCache } from '../../../src/operations/inspect.js';
import { listCaches } from '../../../src/operations/list.js';
import { verifyCache, verifyFolder } from '../../../src/operations/verify/verify.js';
import { inspectText } from '../../../src/report/text/inspect.js';
import { listText } from '../../../src/report/text/list.js';
import { copyOne, loadFolder } from '../../support/caches.js';
import { fixture, temporary } from '../../support/fixtures.js';
import {
  type Entry,
  ImageFolder,
  imageWithoutCache,
  indexWithoutCaches,
  MULTI,
  refusal,
  SINGLE,
  spaced,
  THEIRS,
} from '../../support/image.js';
import { assertSound } from '../../support/sound.js';

const INDEX = 'application/vnd.oci.image.index.v1+json';

test('a cache in an image is read by tag, by name and by digest, with all that a folder needs', async (t) => {
  const src = fixture('inline-image');
  for (const select of ['tag=inline', 'tag=example.com/team/tiny:inline', `digest=${THEIRS}`]) {
    for (const type of ['local', 'inline']) {
      const description = await inspectCache(`type=${type},src=${src},${select}`);
      t.deepEqual(description.platforms, ['linux/amd64']);
      t.is(description.shape, undefined);
      t.is(description.results, 4);
      t.is(description.layers.length, 3);
    }
  }
  const out = temporary(t);
  await copyOne(SINGLE, `type=local,dest=${out}`);
  await assertSound(t, out);
  const { graph } = await loadFolder(out);
  t.is(graph.records.length, 12);
  const copied = [...graph.descriptors.values()].find(({ digest }) => digest.startsWith('sha256:96ea'));
  t.deepEqual(copied?.annotations, {
    'buildkit/createdat': '2026-11-23T23:11:11.039575944Z',
    'buildkit/description': 'COPY /app /app # buildkit',
    'containerd.io/uncompressed': 'sha256:fb0082f00ec18ef4aa8a96e392c32d805a12e9173c00ceac1a9911575ca75c96',
  });
});

test('the caches of all platforms are one', async (t) => {
  const description = await inspectCache(MULTI);
  t.deepEqual(description.platforms, ['linux/amd64', 'linux/arm64']);
  t.is(description.records.length, 12);
  t.regex(inspectText(description), /inline in the image of linux\/amd64, linux\/arm64, mode=min/);
  t.regex(listText(await listCaches(fixture('inline-multiplatform'))), /tiny:multi +5048b6c4bb62 +inline +min +3/);
});

test('what is no image with a cache is told apart', async (t) => {
  const image = imageWithoutCache(t);
  const here = `type=local,src=${image.path},tag=inline`;
  const none = await refusal(t, inspectCache(here));
  t.is(none.code, 'NOT_FOUND');
  t.regex(none.message, /is an image without a build cache in it/);
  t.regex((await listCaches(image.path))[0]?.problem ?? '', /without a build cache/);

  const uneven = new ImageFolder(t, 'inline-image');
  uneven.retag(
    uneven.changeConfig(uneven.top.digest, (config) => config.replace(/"diff_ids":\["[^"]*",/, '"diff_ids":[')),
  );
  const ignored = await refusal(t, inspectCache(`type=local,src=${uneven.path},tag=inline`));
  t.is(ignored.code, 'NOT_FOUND');
  t.regex(ignored.message, /BuildKit ignores: its manifest has 3 layers and its config 2/);
  const full = await refusal(t, copyOne(SINGLE, `type=inline,dest=${uneven.path},tag=inline`));
  t.is(full.code, 'FAILED');
  t.regex(full.message, /cannot hold a cache: its manifest has 3 layers/);

  const artifact = new ImageFolder(t, 'inline-image');
  artifact.retag(artifact.text(artifact.top.digest).replace('oci.image.config', 'cncf.helm.config'));
  const helm = await refusal(t, inspectCache(`type=local,src=${artifact.path},tag=inline`));
  t.like(helm, { code: 'NOT_FOUND', side: 'import' });
  t.regex(helm.message, /neither a build cache nor an image/);

  const nothing = indexWithoutCaches(t, (index) => spaced({ ...index, manifests: [] }));
  for (const run of [
    inspectCache(`type=local,src=${nothing.path},tag=multi`),
    copyOne(MULTI, `type=inline,dest=${nothing.path},tag=multi`),
  ]) {
    const empty = await refusal(t, run);
    t.is(empty.code, 'NOT_FOUND');
    t.regex(empty.message, /neither a build cache nor an image/);
  }
});

for (const [name, change] of Object.entries({
  'no base64': (config: string) => config.replace(/(cache\.v0":")..../, '$1%%%%'),
  'no JSON': (config: string) => config.replace(/(cache\.v0":")[^"]*/, '$1e30x'),
  'a record that loops': (config: string) =>
    config.replace(
      /(cache\.v0":")[^"]*/,
      `$1${Buffer.from(`[{"digest":"${THEIRS}","inputs":[[{"link":0}]]}]`).toString('base64')}`,
    ),
  'diffIDs that are paths': (config: string) => config.replace(/"diff_ids":\["[^"]*"/, '"diff_ids":["../../x"'),
  'no object': () => '"x"',
})) {
  test(`refused as corrupt: an image config with ${name}`, async (t) => {
    const image = new ImageFolder(t, 'inline-image');
    image.retag(image.changeConfig(image.top.digest, change));
    t.is((await refusal(t, inspectCache(`type=local,src=${image.path},tag=inline`))).code, 'CORRUPT');
  });
}

test('the flags for BuildKit name the folder or registry, since it knows no import of type inline', async (t) => {
  const words = await importArguments([`type=inline,src=${fixture('inline-image')},tag=inline`], 'buildx', () =>
    t.fail(),
  );
  t.deepEqual(words, ['--cache-from', SINGLE]);
});

test('an index that lists its children twice, many levels deep, is read once', async (t) => {
  const image = new ImageFolder(t, 'inline-image');
  let child: Entry = { ...image.top };
  for (let level = 0; level < 40; level++) {
    const text = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [child, child] });
    child = { mediaType: INDEX, ...image.put(text) };
  }
  const { manifests } = image.index;
  image.index = { ...image.index, manifests: [{ ...manifests[0], ...child }] };
  const description = await inspectCache(`type=local,src=${image.path},tag=inline`);
  t.deepEqual(description.platforms, ['linux/amd64']);
  t.true((await verifyFolder(image.path)).sound);
  t.true((await listCaches(image.path)).every(({ cache }) => cache !== undefined));
  const cache = temporary(t);
  await copyOne(SINGLE, `type=local,dest=${cache}`);
  const result = await copyOne(`type=local,src=${cache}`, `type=inline,dest=${image.path},tag=inline`);
  t.is(String(result.descriptor.digest), child.digest);
});

test('asked for one cache, what is none is not found; in a folder it is noted', async (t) => {
  const image = imageWithoutCache(t);
  const error = await t.throwsAsync(verifyCache(`type=local,src=${image.path},tag=inline`), { instanceOf: CacheError });
  t.like(error, { code: 'NOT_FOUND' });
  t.regex(error?.message ?? '', /an image without a build cache/);
  const { sound, findings } = await verifyFolder(image.path);
  t.true(sound);
  t.true(findings.some(({ kind, message }) => kind === 'unknown' && message.includes('without a build cache')));
  const left: string[] = [];
  const text = `type=local,src=${image.path},tag=inline`;
  t.deepEqual(await importArguments([text], 'buildx', (_options, reason) => left.push(reason.message)), []);
  t.regex(left[0] ?? '', /without a build cache/);
});
