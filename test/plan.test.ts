import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { localSource } from '../src/backend/local.js';
import { copyCache, type ExportResult } from '../src/copy.js';
import { sha256 } from '../src/oci/digest.js';
import { changedFixture, blobPath, importOf, temporary } from './support/fixtures.js';
import { assertSound } from './support/sound.js';

async function copyOne(imported: string, exported: string): Promise<ExportResult> {
  const { exports } = await copyCache({ imports: [imported], exports: [exported] });
  const [only] = exports;
  if (only === undefined) throw new Error('nothing was exported');
  return only;
}

const load = (folder: string) => localSource({ type: 'local', attributes: { src: folder } }).load();
const descriptorsIn = async (folder: string) => [...(await load(folder)).graph.descriptors.values()];

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
  t.is((await load(folder)).saved?.manifest.descriptor.digest, descriptor.digest);
});

test('a foreign layer is left where it is, and counted as what its media type says', async (t) => {
  const folder = changedFixture(t, 'max-gzip', ({ layers }) => {
    // A layer can be listed several times.
    for (const layer of layers.filter(({ digest }) => digest === layers[0]?.digest)) {
      layer.mediaType = 'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd';
    }
  });
  for (const options of ['', ',compression=gzip,compression-level=1,force-compression=true']) {
    const result = await copyOne(`type=local,src=${folder}`, `type=local,dest=${temporary(t)}${options}`);
    t.is(result.actions.foreign, 1);
    t.deepEqual(result.compressions, { gzip: 5, zstd: 1 });
  }
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
    t.like(JSON.parse(Buffer.from(saved?.manifest.bytes ?? []).toString()), { annotations: { team: 'ours' } });
    t.is(readFileSync(blobPath(out, document256), 'utf8'), document);
    t.is(readdirSync(join(out, 'blobs', 'sha256')).length, 8 + 2, 'nothing that is not listed was copied');
  }
});
