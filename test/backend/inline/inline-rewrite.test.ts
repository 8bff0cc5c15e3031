import test from 'ava';
import { inspectCache } from '../../../src/operations/inspect.js';
import { copyOne } from '../../support/caches.js';
import { temporary } from '../../support/fixtures.js';
import {
  type Entry,
  ImageFolder,
  imageWithoutCache,
  indexWithoutCaches,
  MULTI,
  refusal,
  SINGLE,
  stripped,
  THEIR_INDEX,
  THEIRS,
} from '../../support/image.js';
import { assertSound } from '../../support/sound.js';

test('attestations, annotations, unknown fields, odd numbers and spaces survive', async (t) => {
  const image = indexWithoutCaches(t, (index, folder) => {
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
  const image = imageWithoutCache(t);
  const [entry] = image.index.manifests;
  const other = { ...entry, annotations: { 'org.opencontainers.image.ref.name': 'inline' } };
  image.index = { ...image.index, manifests: [{ ...entry, 'x-mine': 1 }, other] };
  await copyOne(SINGLE, `type=inline,dest=${image.path},tag=example.com/team/tiny:inline`);
  const [first, second] = image.index.manifests;
  t.deepEqual(first, { ...entry, 'x-mine': 1, digest: THEIRS, size: 853 } as Entry & object);
  t.deepEqual(second, other as Entry);
});

test('an entry of the same name for another platform stays, and one that carries its manifest carries the new one', async (t) => {
  const image = imageWithoutCache(t);
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
