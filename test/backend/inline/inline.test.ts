import test, { type ExecutionContext } from 'ava';
import { inlineTarget } from '../../../src/backend/inline/inline-target.js';
import { layoutRepository } from '../../../src/backend/local/layout-repository.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { parseDigest } from '../../../src/oci/digest.js';
import { openLayout } from '../../../src/layout/layout.js';
import { inspectCache } from '../../../src/operations/inspect.js';
import { listCaches } from '../../../src/operations/list.js';
import { copyText } from '../../../src/report/text/copy.js';
import { inspectText } from '../../../src/report/text/inspect.js';
import { listText } from '../../../src/report/text/list.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { importArguments } from '../../../src/operations/import-args.js';
import { verifyCache, verifyFolder } from '../../../src/operations/verify/verify.js';
import { fixture, importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { type Entry, ImageFolder, stripped } from '../../support/image.js';
import { assertSound } from '../../support/sound.js';
import { copyOne, loadFolder } from '../../support/caches.js';
import { contentsOf } from '../../support/folders.js';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const SINGLE = importOf('inline-image', 'inline');
const MULTI = importOf('inline-multiplatform', 'multi');
const THEIRS = parseDigest('sha256:7d7e7b238f379786109ba402e383e0e01ae749d80a6fc1642b04d77140fd7784', 'fixture');
const THEIR_INDEX = parseDigest('sha256:5048b6c4bb62bd1b740dc937b00ca98f9160aaf4ecd5423d74d1d126f5a8324a', 'fixture');

/** BuildKit's image as it is without the cache in it. */
function bare(t: ExecutionContext): ImageFolder {
  const image = new ImageFolder(t, 'inline-image');
  image.retag(image.changeConfig(image.top.digest, stripped));
  return image;
}

/** BuildKit's image for two platforms as it is without the caches in it, and whatever a test does to its index. */
function bareIndex(
  t: ExecutionContext,
  change: (index: { manifests: Entry[] }, image: ImageFolder) => string = spaced,
): ImageFolder {
  const image = new ImageFolder(t, 'inline-multiplatform');
  const index = image.json(image.top.digest) as { manifests: Entry[] };
  for (const entry of index.manifests) Object.assign(entry, image.put(image.changeConfig(entry.digest, stripped)));
  image.retag(change(index, image));
  return image;
}

const spaced = (index: object) => JSON.stringify(index, null, 2);

async function refusal(t: ExecutionContext, run: Promise<unknown>): Promise<CacheError> {
  return t.throwsAsync(run, { instanceOf: CacheError });
}

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

for (const how of [
  '',
  ',compression=zstd,force-compression=true',
  ',image-manifest=false',
  ',compression=uncompressed',
]) {
  test(`what was taken out of an image${how} goes back in as BuildKit had written it, to the byte`, async (t) => {
    const cache = temporary(t);
    await copyOne(SINGLE, `type=local,dest=${cache}${how}`);
    const image = bare(t);
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
  const image = bareIndex(t);
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

test('attestations, annotations, unknown fields, odd numbers and spaces survive', async (t) => {
  const image = bareIndex(t, (index, folder) => {
    const [amd64, arm64] = index.manifests as [Entry, Entry];
    const attestation = {
      mediaType: amd64.mediaType,
      ...folder.put('{"not":"read"}'),
      annotations: {
        'vnd.docker.reference.digest': amd64.digest,
        'vnd.docker.reference.type': 'attestation-manifest',
      },
      platform: { architecture: 'unknown', os: 'unknown' },
    };
    const stranger = { mediaType: 'application/x.signature', digest: `sha256:${'0'.repeat(64)}`, size: 1 };
    const odd = { ...amd64, annotations: { mine: amd64.digest }, 'x-size': 1 };
    const text = JSON.stringify(
      { z: 1, ...index, manifests: [stranger, odd, arm64, attestation], annotations: {} },
      null,
      3,
    );
    return text.replace('"x-size": 1', '"x-size": 1.0e2, "x-id": 12345678901234567890');
  });
  const before = image.text(image.top.digest);
  await copyOne(MULTI, `type=inline,dest=${image.path},tag=multi`);
  const index = image.json(image.top.digest) as { manifests: Entry[] };
  const [, oldAmd64, oldArm64] = (JSON.parse(before) as { manifests: [Entry, Entry, Entry] }).manifests;
  const [, amd64, arm64, attestation] = index.manifests;
  t.is(attestation?.annotations?.['vnd.docker.reference.digest'], amd64?.digest);
  // Nothing but the two descriptors and the reference has changed.
  const undone = image
    .text(image.top.digest)
    .replaceAll(amd64?.digest ?? '?', oldAmd64.digest)
    .replaceAll(arm64?.digest ?? '?', oldArm64.digest);
  t.is(undone, before);
  t.is(amd64?.annotations?.['mine'], oldAmd64.digest);
  const { manifests: theirs } = image.json(THEIR_INDEX) as { manifests: Entry[] };
  t.is(amd64?.digest, theirs[0]?.digest);
});

test('an image config keeps its text around the cache, and a manifest that carries its config carries the new one', async (t) => {
  const image = new ImageFolder(t, 'inline-image');
  const odd = (config: string) =>
    `{ "moby.buildkit.cache.v0" : null,\n "x":1.50, "os":"linux", ${stripped(config).slice(1).replace('"os":"linux"', '"y":[]')} `;
  const text = image.changeConfig(image.top.digest, odd);
  const { config } = JSON.parse(text) as { config: Entry };
  const data = Buffer.from(image.text(config.digest)).toString('base64');
  image.retag(text.replace('"config": {', `"config": {\n    "data": "${data}",`));
  await refusal(t, inspectCache(`type=local,src=${image.path},tag=inline`));
  await copyOne(SINGLE, `type=inline,dest=${image.path},tag=inline`);
  const after = image.json(image.top.digest) as { config: Entry };
  t.is(Buffer.from(String(after.config['data']), 'base64').toString(), image.text(after.config.digest));
  const value = /"moby\.buildkit\.cache\.v0" : ("[^"]+")/.exec(image.text(after.config.digest))?.[1] ?? '?';
  t.is(image.text(after.config.digest).replace(value, 'null'), image.text(config.digest));
  t.is((await inspectCache(`type=local,src=${image.path},tag=inline`)).results, 4);
});

test('the entry in index.json keeps its place, its names and what else it has; other tags stay', async (t) => {
  const image = bare(t);
  const [entry] = image.index.manifests;
  const other = { ...entry, annotations: { 'org.opencontainers.image.ref.name': 'inline' } };
  image.index = { ...image.index, manifests: [{ ...entry, 'x-mine': 1 }, other] };
  await copyOne(SINGLE, `type=inline,dest=${image.path},tag=example.com/team/tiny:inline`);
  const [first, second] = image.index.manifests;
  t.deepEqual(first, { ...entry, 'x-mine': 1, digest: THEIRS, size: 853 } as Entry & object);
  t.deepEqual(second, other as Entry);
});

test('a copy says which records fit and which did not, and for want of which layers', async (t) => {
  const image = bare(t);
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
  const two = bareIndex(t, (index, folder) => {
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

test('what is no image with a cache is told apart', async (t) => {
  const image = bare(t);
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

  const nothing = bareIndex(t, (index) => spaced({ ...index, manifests: [] }));
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

test('an entry of the same name for another platform stays, and one that carries its manifest carries the new one', async (t) => {
  const image = bare(t);
  const arm = image.put(image.text(image.top.digest).replace('{', '{ '));
  const data = Buffer.from(image.text(image.top.digest)).toString('base64');
  const [first] = image.index.manifests;
  const names = { 'org.opencontainers.image.ref.name': 'inline' };
  const other = { ...first, ...arm, annotations: names, platform: { architecture: 'arm64', os: 'linux' } };
  image.index = { ...image.index, manifests: [{ ...first, annotations: names, data }, other] };
  const { descriptor } = await copyOne(SINGLE, `type=inline,dest=${image.path},tag=inline`);
  t.not(descriptor.digest, first?.digest);
  const { manifests } = image.index;
  t.deepEqual(manifests[1], other);
  t.is(manifests.length, 2);
  const expected = Buffer.from(image.text(descriptor.digest)).toString('base64');
  t.like(manifests[0], { digest: descriptor.digest, annotations: names, data: expected });
});

test('an image that somebody else pushes in the meantime is theirs', async (t) => {
  const image = bare(t);
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

test('the flags for BuildKit name the folder or registry, since it knows no import of type inline', async (t) => {
  const words = await importArguments([`type=inline,src=${fixture('inline-image')},tag=inline`], 'buildx', () =>
    t.fail(),
  );
  t.deepEqual(words, ['--cache-from', SINGLE]);
});

test("an image with Docker's media types keeps them, and its layers have OCI's in a cache", async (t) => {
  const image = new ImageFolder(t, 'inline-image');
  const docker = image
    .changeConfig(image.top.digest, stripped)
    .replace('application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json')
    .replace('application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json')
    .replaceAll('application/vnd.oci.image.layer.v1.tar+gzip', 'application/vnd.docker.image.rootfs.diff.tar.gzip');
  image.retag(docker, { mediaType: 'application/vnd.docker.distribution.manifest.v2+json' });
  const { descriptor } = await copyOne(SINGLE, `type=inline,dest=${image.path},tag=inline`);
  t.is(descriptor.mediaType, 'application/vnd.docker.distribution.manifest.v2+json');
  t.is(image.top.mediaType, descriptor.mediaType);
  const { config } = image.json(image.top.digest) as { config: Entry };
  t.is(
    image.text(image.top.digest),
    docker.replace(
      /(config\.|"digest": ")sha256:[0-9a-f]+",\n +"size": \d+/,
      `$1${config.digest}",\n    "size": ${config.size}`,
    ),
  );
  const out = temporary(t);
  await copyOne(`type=local,src=${image.path},tag=inline`, `type=local,dest=${out}`);
  await assertSound(t, out);
  const { layers } = await inspectCache(out);
  t.deepEqual([...new Set(layers.map(({ mediaType }) => mediaType))], ['application/vnd.oci.image.layer.v1.tar+gzip']);
});

test('an image without enough history gets an entry for each layer with its cache', async (t) => {
  for (const [history, added] of [
    ['[{"created_by":"mine"}]', 2],
    ['null', 3],
  ] as const) {
    const image = bare(t);
    const shorten = (config: string) => config.replace(/"history":\[.*?\](?=[,}])/s, `"history":${history}`);
    image.retag(image.changeConfig(image.top.digest, shorten));
    const result = await copyOne(SINGLE, `type=inline,dest=${image.path},tag=inline`);
    const { config } = image.json(image.top.digest) as { config: Entry };
    t.is((image.json(config.digest) as { history: object[] }).history.length, 3);
    t.is(result.images?.[0]?.addedHistory, added);
    t.regex(copyText({ imports: [], exports: [result], ignored: [] }), /history: [23] entries added/);
    // A second copy has nothing to add.
    const again = await copyOne(SINGLE, `type=inline,dest=${image.path},tag=inline`);
    t.is(again.descriptor.digest, result.descriptor.digest);
    t.is(again.images?.[0]?.addedHistory, undefined);
  }
});

test('an image whose cache ends the daemon is not among the flags of a build, and repair fills its history', async (t) => {
  const image = new ImageFolder(t, 'inline-multiplatform');
  const index = image.json(image.top.digest) as { manifests: Entry[] };
  const [first] = index.manifests;
  if (first === undefined) throw new Error('there is no image');
  Object.assign(
    first,
    image.put(image.changeConfig(first.digest, (text) => text.replace(/"history":/, '"x-history":'))),
  );
  image.retag(JSON.stringify(index));
  const text = `type=local,src=${image.path},tag=multi`;
  const left: string[] = [];
  t.deepEqual(await importArguments([text], 'buildctl', (_options, reason) => left.push(reason.message)), []);
  t.regex(left[0] ?? '', /daemon exits/);
  const { findings } = await verifyCache(text);
  t.like(findings[0], { effect: 'daemon-exits', wrong: 'history', repair: `bkcache repair ${image.path}` });
  const { actions, sound } = await repairFolder(image.path);
  t.true(sound);
  t.like(actions, { length: 1, 0: { type: 'rewritten', wrong: ['history'] } });
  t.is((await importArguments([text], 'buildctl', () => t.fail())).length, 2);
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
  const image = bare(t);
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
