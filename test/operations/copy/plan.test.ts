import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { sha256 } from '../../../src/oci/digest.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { assertSound } from '../../support/sound.js';
import { copyOne, descriptorsIn, digestOfCache, loadFolder } from '../../support/caches.js';
import { blobPath } from '../../support/folders.js';
import { changedFixture } from '../../support/changed-fixture.js';

const load = (folder: string) => loadFolder(folder);

/** The media types that a folder's manifest list has for its layers. */
function listedTypes(folder: string): string[] {
  const read = (path: string) =>
    JSON.parse(readFileSync(path, 'utf8')) as {
      mediaType?: string;
      manifests: { mediaType: string; digest: string }[];
    };
  const list = read(blobPath(folder, read(join(folder, 'index.json')).manifests[0]?.digest ?? ''));
  if (list.mediaType !== 'application/vnd.docker.distribution.manifest.list.v2+json') throw new Error(list.mediaType);
  const layers = list.manifests.filter(({ mediaType }) => !mediaType.includes('cacheconfig'));
  return [...new Set(layers.map(({ mediaType }) => mediaType))];
}

const DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar';
for (const [name, options, type] of [
  ['max-zstd', 'oci-mediatypes=false', `${DOCKER_LAYER}.zstd`],
  ['max-zstd', 'oci-mediatypes=false,mode=min', `${DOCKER_LAYER}.zstd`],
  ['max-zstd', 'oci-mediatypes=false,compression=gzip', `${DOCKER_LAYER}.zstd`],
  ['max-zstd', 'oci-mediatypes=false,compression=gzip,force-compression=true', `${DOCKER_LAYER}.gzip`],
  ['max-gzip', 'oci-mediatypes=false,compression=zstd,force-compression=true', `${DOCKER_LAYER}.zstd`],
  ['max-gzip', 'oci-mediatypes=false,compression=estargz,force-compression=true', `${DOCKER_LAYER}.gzip`],
  ['max-estargz', 'oci-mediatypes=false', `${DOCKER_LAYER}.gzip`],
  ['max-gzip-docker-list', 'compression=zstd,force-compression=true', `${DOCKER_LAYER}.zstd`],
  ['max-gzip-docker-list', 'compression=zstd,force-compression=true,image-manifest=false', `${DOCKER_LAYER}.zstd`],
  ['max-gzip-docker-list', 'compression=estargz,force-compression=true', `${DOCKER_LAYER}.gzip`],
  ['max-gzip-docker-list', 'compression=gzip,compression-level=9,force-compression=true', `${DOCKER_LAYER}.gzip`],
] as const) {
  test(`Docker's media types for every compression, and a note where only some BuildKits read them: ${name}, ${options}`, async (t) => {
    const [out, again] = [temporary(t), temporary(t)];
    const notes: string[] = [];
    const onNote = (note: string) => notes.push(note);
    await copyCache({ imports: [importOf(name)], exports: [`type=local,dest=${out},${options}`], onNote });
    t.deepEqual(listedTypes(out), [type]);
    await assertSound(t, out);
    t.is(notes.length, type.endsWith('zstd') ? 1 : 0);
    for (const note of notes) t.regex(note, /BuildKit reads since 0\.19: oci-mediatypes=true is for older ones/);
    // What is there already is what it was: nothing new is to be said of it.
    await copyCache({ imports: [`type=local,src=${out}`], exports: [`type=local,dest=${again}`], onNote });
    t.is(notes.length, type.endsWith('zstd') ? 1 : 0);
    t.deepEqual(listedTypes(again), [type]);
  });
}

/** max-zstd, in a manifest that calls every layer gzip. */
const lying = (t: ExecutionContext) =>
  changedFixture(t, 'max-zstd', ({ layers }) => {
    for (const layer of layers) layer.mediaType = layer.mediaType.replace('zstd', 'gzip');
  });

test('a media type that says something else than the bytes is put right when a compression is asked for', async (t) => {
  const folder = lying(t);
  for (const options of ['compression=zstd,force-compression=true', 'compression=zstd', 'compression=gzip']) {
    const out = temporary(t);
    const result = await copyOne(`type=local,src=${folder}`, `type=local,dest=${out},${options}`);
    t.deepEqual(result.compressions, { zstd: 6 }, options);
    t.deepEqual(
      [...new Set((await descriptorsIn(out)).map(({ mediaType }) => mediaType))],
      ['application/vnd.oci.image.layer.v1.tar+zstd'],
    );
    await assertSound(t, out);
  }
  const docker = temporary(t);
  await copyOne(`type=local,src=${folder}`, `type=local,dest=${docker},compression=gzip,oci-mediatypes=false`);
  t.deepEqual(listedTypes(docker), [`${DOCKER_LAYER}.zstd`]);
});

test('a copy that converts nothing keeps a media type that is wrong, and the digest', async (t) => {
  const folder = lying(t);
  const { descriptor } = await copyOne(`type=local,src=${folder}`, `type=local,dest=${temporary(t)}`);
  t.is(digestOfCache(await load(folder)), descriptor.digest);
});

const FOREIGN = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip';

/** A cache of which one layer is foreign. */
const withForeign = (t: ExecutionContext, edit: (folder: string, digest: string) => void) =>
  changedFixture(t, 'max-gzip', ({ layers }, _config, folder) => {
    const [first] = layers;
    // A layer can be listed several times.
    for (const layer of layers.filter(({ digest }) => digest === first?.digest)) layer.mediaType = FOREIGN;
    edit(folder, first?.digest ?? '');
  });

test('the bytes of a foreign layer go along, unchanged, whatever is asked for', async (t) => {
  let foreign = '';
  const folder = withForeign(t, (_, digest) => {
    foreign = digest;
  });
  for (const options of ['', ',compression=zstd,force-compression=true', ',oci-mediatypes=false,mode=min']) {
    const out = temporary(t);
    const result = await copyOne(`type=local,src=${folder}`, `type=local,dest=${out}${options}`);
    t.is(result.actions.foreign, 0);
    t.is(result.kept, 0);
    const layer = (await descriptorsIn(out)).find(({ digest }) => digest === foreign);
    t.is(layer?.mediaType, FOREIGN, options);
    t.true(existsSync(blobPath(out, foreign)));
    await assertSound(t, out);
  }
});

test('a foreign layer whose bytes are nowhere is told of before anything is written, unless the target has it', async (t) => {
  let foreign = '';
  const whole = withForeign(t, (_, digest) => {
    foreign = digest;
  });
  const folder = withForeign(t, (at, digest) => rmSync(blobPath(at, digest)));
  const imports = [`type=local,src=${folder}`];
  for (const options of ['', ',compression=zstd,force-compression=true']) {
    const out = temporary(t);
    const notes: string[] = [];
    const onNote = (note: string) => {
      t.false(existsSync(join(out, 'index.json')));
      notes.push(note);
    };
    const { exports } = await copyCache({ imports, exports: [`type=local,dest=${out}${options}`], onNote });
    t.is(exports[0]?.actions.foreign, 1);
    t.regex(notes.join(), /^a foreign layer is in none of the imports .* a build that needs it fails$/);
  }
  const out = temporary(t);
  await copyOne(`type=local,src=${whole}`, `type=local,dest=${out},tag=other`);
  const { exports } = await copyCache({ imports, exports: [`type=local,dest=${out}`], onNote: (note) => t.fail(note) });
  t.is(exports[0]?.actions.foreign, 0);
  // One import has what the other lacks.
  const both = { imports: [...imports, `type=local,src=${whole}`], exports: [`type=local,dest=${temporary(t)}`] };
  t.is((await copyCache(both)).exports[0]?.actions.foreign, 0);
  t.true(existsSync(blobPath(out, foreign)));
});

for (const [name, fixtureName, mediaType] of [
  ['unknown', 'max-zstd', 'application/x.layer'],
  ['empty', 'max-zstd', ''],
  ['missing', 'max-zstd', undefined],
  ['unknown, of a plain tar', 'max-uncompressed', 'application/x.layer'],
  ['that of a plain tar, below which BuildKit does not look', 'max-zstd', 'application/vnd.oci.image.layer.v1.tar'],
] as const) {
  test(`a layer's media type with which builds fail is put right by every copy: ${name}`, async (t) => {
    const folder = changedFixture(t, fixtureName, ({ layers }) => {
      for (const layer of layers as { mediaType?: string | undefined }[]) layer.mediaType = mediaType;
    });
    const suffix = fixtureName === 'max-zstd' ? '+zstd' : '';
    for (const options of [
      '',
      ',image-manifest=false',
      ',compression=gzip',
      ',compression=gzip,force-compression=true',
    ]) {
      const out = temporary(t);
      const result = await copyOne(`type=local,src=${folder}`, `type=local,dest=${out}${options}`);
      const isGzip = options.includes('force') || (suffix === '' && options.includes('compression'));
      t.deepEqual(
        [...new Set((await descriptorsIn(out)).map((layer) => layer.mediaType))],
        [`application/vnd.oci.image.layer.v1.tar${isGzip ? '+gzip' : suffix}`],
        options,
      );
      t.is(result.corrected, 6);
      await assertSound(t, out);
    }
  });
}

test('a media type that is not known stays where the bytes are none that are known either', async (t) => {
  const encrypted = 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted';
  const bytes = Buffer.alloc(1000, 7);
  const folder = changedFixture(t, 'max-gzip', (manifest, _config, at) => {
    writeFileSync(blobPath(at, sha256(bytes)), bytes, { mode: 0o444 });
    manifest.layers.push({ mediaType: encrypted, digest: sha256(bytes), size: bytes.length, annotations: {} });
  });
  const { descriptor } = await copyOne(`type=local,src=${folder}`, `type=local,dest=${temporary(t)}`);
  t.is(digestOfCache(await load(folder)), descriptor.digest);
});

test('annotations that describe the bytes go with them, and all others stay', async (t) => {
  const stale = {
    'io.github.containers.zstd-chunked.manifest-checksum': sha256('1'),
    'io.github.containers.zstd-chunked.manifest-position': '1:2:3:1',
    'containerd.io/snapshot/nydus-blob': 'true',
    'containerd.io/snapshot/overlaybd/blob-digest': sha256('2'),
    'containerd.io/snapshot/stargz/toc.digest': sha256('3'),
    'io.containers.estargz.uncompressed-size': '7',
  };
  const others = JSON.parse('{"constructor":"1","__proto__":"2","toString":"3","other":"4","9":"5"}') as object;
  const folder = changedFixture(t, 'max-gzip', (manifest) => {
    for (const layer of manifest.layers) {
      const { 'containerd.io/snapshot/stargz/toc.digest': _, ...annotations } = stale;
      layer.annotations = { ...layer.annotations, ...annotations, ...others };
    }
    Object.assign(manifest, { constructor: { toString: 1 } });
  });
  const out = temporary(t);
  await copyOne(`type=local,src=${folder}`, `type=local,dest=${out},compression=zstd,force-compression=true`);
  for (const { annotations = {} } of await descriptorsIn(out)) {
    t.deepEqual(
      Object.keys(stale).filter((name) => Object.hasOwn(annotations, name)),
      [],
    );
    for (const [name, value] of Object.entries(others)) {
      t.true(Object.hasOwn(annotations, name), name);
      t.is(Object.entries(annotations).find(([key]) => key === name)?.[1], value as string);
    }
  }
  const plain = temporary(t);
  await copyOne(`type=local,src=${folder}`, `type=local,dest=${plain},image-manifest=false`);
  for (const { annotations = {} } of await descriptorsIn(plain)) {
    t.is(annotations['io.github.containers.zstd-chunked.manifest-position'], '1:2:3:1');
  }
});

test('numbers that no double holds stay what they are where a manifest is written anew', async (t) => {
  const folder = changedFixture(
    t,
    'max-gzip',
    (manifest) => {
      manifest['big'] = 'BIG';
      for (const layer of manifest.layers) Object.assign(layer, { big: 'BIG' });
    },
    (text) => text.replaceAll('"BIG"', '9007199254740993'),
  );
  const out = temporary(t);
  await copyOne(`type=local,src=${folder}`, `type=local,dest=${out},compression=zstd,force-compression=true`);
  const saved = (await load(out)).saved?.documents[1]?.bytes;
  t.is(
    Buffer.from(saved ?? [])
      .toString()
      .split('"big":9007199254740993').length - 1,
    8,
  );
});

test('what a manifest has beside the layers of the cache goes along', async (t) => {
  const document = '{"some":"document"}';
  const folder = changedFixture(t, 'max-gzip', (manifest, _config, at) => {
    // Another layer, and something that is none.
    const bytes = Buffer.alloc(1536);
    for (const [mediaType, content] of [
      ['application/vnd.oci.image.layer.v1.tar', bytes],
      ['application/x.document', Buffer.from(document)],
    ] as const) {
      const digest = sha256(content);
      writeFileSync(blobPath(at, digest), content, { mode: 0o444 });
      manifest.layers.push({
        mediaType,
        digest,
        size: content.length,
        annotations: { 'containerd.io/uncompressed': digest },
      });
    }
    manifest['annotations'] = { team: 'ours' };
  });
  const document256 = sha256(document);
  for (const [options, compressions] of [
    ['image-manifest=false', { gzip: 6, uncompressed: 2 }],
    ['compression=zstd,force-compression=true', { zstd: 7, uncompressed: 1 }],
    ['oci-mediatypes=false,compression=gzip', { gzip: 7, uncompressed: 1 }],
  ] as const) {
    const out = temporary(t);
    const result = await copyOne(`type=local,src=${folder}`, `type=local,dest=${out},${options}`);
    t.deepEqual(result.compressions, compressions, options);
    const saved = (await load(out)).saved;
    t.is((await descriptorsIn(out)).length, 8, options);
    t.like(JSON.parse(Buffer.from(saved?.documents[1]?.bytes ?? []).toString()), { annotations: { team: 'ours' } });
    t.is(readFileSync(blobPath(out, document256), 'utf8'), document);
    t.is(readdirSync(join(out, 'blobs', 'sha256')).length, 8 + 2, 'nothing that is not listed was copied');
  }
});
