import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { hasResults } from '../../../src/graph/graph.js';
import { UNCOMPRESSED } from '../../../src/oci/descriptor.js';
import { CacheError } from '../../../src/errors.js';
import { sha256 } from '../../../src/oci/digest.js';
import { fixture, FIXTURES, importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { assertSound } from '../../support/sound.js';
import { copyOne, digestOfCache, loadFolder } from '../../support/caches.js';
import { blobPath } from '../../support/folders.js';
import { changedFixture } from '../../support/changed-fixture.js';

const ENCODINGS = [
  'compression=gzip,compression-level=1',
  'compression=gzip,compression-level=6',
  'compression=gzip,compression-level=9',
  'compression=gzip,compression-level=0',
  'compression=zstd,compression-level=1',
  'compression=zstd,compression-level=3',
  'compression=zstd,compression-level=19',
  'compression=zstd,compression-level=22',
  'compression=uncompressed',
];
const SHAPES = [
  'image-manifest=true,oci-mediatypes=true',
  'image-manifest=false,oci-mediatypes=true',
  'oci-mediatypes=false',
];

for (const [folder, tag] of FIXTURES) {
  test(`${folder}:${tag} copied unchanged has the same manifest digest`, async (t) => {
    const out = temporary(t);
    const source = await loadFixture(folder, tag);
    const { descriptor } = await copyOne(importOf(folder, tag), `type=local,dest=${out},tag=${tag}`);
    t.is(digestOfCache(source), descriptor.digest);
    await assertSound(t, out, tag);
  });

  test(`${folder}:${tag} is whole in every compression and shape, with the same digests the second time`, async (t) => {
    const diffIDs = await tarDigests(t, folder, tag);
    for (const encoding of ENCODINGS) {
      for (const shape of SHAPES) {
        const [first, second] = [temporary(t), temporary(t)];
        const options = `${encoding},${shape},force-compression=true`;
        const result = await copyOne(importOf(folder, tag), `type=local,dest=${first},${options}`);
        await assertSound(t, first);
        const again = await copyOne(importOf(folder, tag), `type=local,dest=${second},${options}`);
        t.is(again.descriptor.digest, result.descriptor.digest, options);
        t.deepEqual(await tarDigestsOf(first), diffIDs, options);
      }
    }
  });
}

/** The diffIDs that a conversion has to come to; for estargz those of the same tars without their tables. */
async function tarDigests(t: ExecutionContext, folder: string, tag: string): Promise<string[]> {
  if (folder !== 'max-estargz') return tarDigestsOf(fixture(folder), tag);
  const out = temporary(t);
  await copyOne(importOf(folder, tag), `type=local,dest=${out},compression=uncompressed,force-compression=true`);
  return tarDigestsOf(out);
}

async function tarDigestsOf(folder: string, tag = 'latest'): Promise<string[]> {
  const { graph } = await loadFolder(folder, tag);
  const digests = [...graph.descriptors.values()]
    .map(({ annotations }) => annotations?.[UNCOMPRESSED] ?? 'none')
    .toSorted();
  return digests;
}

test('an estargz layer comes out as the tar that it was made from', async (t) => {
  const out = temporary(t);
  await copyOne(importOf('max-estargz'), `type=local,dest=${out},compression=uncompressed,force-compression=true`);
  await assertSound(t, out);
  const { graph } = await loadFolder(out);
  for (const { digest, annotations } of graph.descriptors.values()) {
    const tar = readFileSync(blobPath(out, digest));
    t.false(tar.includes('stargz.index.json'));
    t.deepEqual(
      Object.keys(annotations ?? {}).filter((key) => key.includes('stargz')),
      [],
    );
  }
});

test('layers that are compressed stay as they are unless forced, and the result says so', async (t) => {
  const out = temporary(t);
  const source = await loadFixture('max-gzip');
  const result = await copyOne(importOf('max-gzip'), `type=local,dest=${out},compression=zstd`);
  t.is(digestOfCache(source), result.descriptor.digest);
  t.is(result.kept, 6);
  t.is(result.actions.converted, 0);
});

test('uncompressed layers take the compression without force', async (t) => {
  const out = temporary(t);
  const result = await copyOne(importOf('max-uncompressed'), `type=local,dest=${out},compression=zstd`);
  t.is(result.actions.converted, 6);
  t.deepEqual(result.compressions, { zstd: 6 });
});

test('mode=min leaves results on exactly the records that BuildKit leaves them on', async (t) => {
  const out = temporary(t);
  const result = await copyOne(importOf('max-gzip'), `type=local,dest=${out},mode=min`);
  const [ours, theirs] = [await loadFolder(out), await loadFixture('min-gzip')];
  const withResults = (cache: typeof ours) => cache.graph.records.filter(hasResults).map(({ digest }) => digest);
  t.deepEqual(withResults(ours), withResults(theirs));
  t.is(ours.graph.records.length, theirs.graph.records.length);
  t.is(result.mode, 'min');
});

test('several imports come to the same digest in any order, and twice changes nothing', async (t) => {
  const [a, b, c] = [importOf('grown', 'main'), importOf('grown', 'feature'), importOf('max-gzip')];
  const digestOf = async (...imports: string[]) => {
    const { exports } = await copyCache({ imports, exports: [`type=local,dest=${temporary(t)}`] });
    return exports[0]?.descriptor.digest;
  };
  const merged = await digestOf(a, b, c);
  t.is(await digestOf(c, a, b), merged);
  t.is(await digestOf(b, c, a, c, b), merged);
  t.is(await digestOf(a, a), digestOfCache(await loadFixture('grown', 'main')));
});

test('other tags and unknown entries of the target stay, and blobs that are there are not written again', async (t) => {
  const out = temporary(t);
  await copyOne(importOf('grown', 'main'), `type=local,dest=${out},tag=main`);
  const before = new Map(
    readdirSync(join(out, 'blobs', 'sha256')).map((name) => [name, statSync(join(out, 'blobs', 'sha256', name)).ino]),
  );
  const result = await copyOne(importOf('grown', 'main'), `type=local,dest=${out},tag=other`);
  t.is(result.actions.copied, 0);
  for (const [name, inode] of before) t.is(statSync(join(out, 'blobs', 'sha256', name)).ino, inode);
  const index = JSON.parse(readFileSync(join(out, 'index.json'), 'utf8')) as { manifests: unknown[] };
  t.is(index.manifests.length, 2);
  t.deepEqual(readdirSync(out).toSorted(), ['blobs', 'index.json', 'oci-layout']);
});

test('the shape and media types of the source stay when they are not named', async (t) => {
  const out = temporary(t);
  const result = await copyOne(
    importOf('max-gzip-docker-list'),
    `type=local,dest=${out},compression=gzip,compression-level=9,force-compression=true`,
  );
  t.is(result.shape, 'docker-list');
});

test("force-compression alone is BuildKit's: everything becomes gzip; a level alone is for what is uncompressed", async (t) => {
  const out = temporary(t);
  const forced = await copyOne(importOf('max-zstd'), `type=local,dest=${out},force-compression=true`);
  t.deepEqual(forced.compressions, { gzip: 6 });
  const level = await copyOne(importOf('max-zstd'), `type=local,dest=${out},compression-level=9`);
  t.deepEqual(level.compressions, { zstd: 6 });
  const packed = await copyOne(importOf('max-uncompressed'), `type=local,dest=${out},compression-level=9`);
  t.deepEqual(packed.compressions, { gzip: 6 });
});

test('hard links share the files', async (t) => {
  const source = temporary(t);
  const out = temporary(t);
  await copyOne(importOf('max-gzip'), `type=local,dest=${source}`);
  await copyCache({ imports: [`type=local,src=${source}`], exports: [`type=local,dest=${out}`], hardlink: true });
  const shared = readdirSync(join(out, 'blobs', 'sha256')).filter((name) => {
    const [a, b] = [join(source, 'blobs', 'sha256', name), join(out, 'blobs', 'sha256', name)];
    return statSync(a).ino === statSync(b).ino;
  });
  t.is(shared.length, 6);
  await assertSound(t, out);
});

test('a copy that is stopped leaves the target without a tag', async (t) => {
  const out = temporary(t);
  const stop = new AbortController();
  const copy = copyCache({
    imports: [importOf('max-gzip')],
    exports: [`type=local,dest=${out},compression=zstd,force-compression=true`],
    signal: stop.signal,
    onProgress: () => stop.abort(new CacheError('ABORTED', 'enough')),
  });
  await t.throwsAsync(copy, { instanceOf: CacheError, message: 'enough' });
  t.false(readdirSync(out).includes('index.json'));
  t.false(readdirSync(out).includes('.bkcache'));
});

test('several imports that are converted come to the same digest in any order', async (t) => {
  const [a, b, c] = [importOf('max-gzip'), importOf('max-uncompressed'), importOf('grown', 'main')];
  const digestOf = async (compression: string, imports: string[]) => {
    const options = `compression=${compression},force-compression=true`;
    const { exports } = await copyCache({ imports, exports: [`type=local,dest=${temporary(t)},${options}`] });
    return exports[0]?.descriptor.digest;
  };
  for (const compression of ['gzip,compression-level=6', 'uncompressed']) {
    const merged = await digestOf(compression, [a, b, c]);
    t.is(await digestOf(compression, [c, b, a]), merged);
    t.is(await digestOf(compression, [b, a, c]), merged);
  }
});

for (const [what, harm] of [
  ['missing', (path: string) => rmSync(path)],
  ['cut short', (path: string) => rewrite(path, (bytes) => bytes.subarray(0, bytes.length - 9))],
  ['damaged', (path: string) => rewrite(path, (bytes) => bytes.map((byte, at) => (at === 12 ? byte ^ 255 : byte)))],
  ['something else', (path: string) => rewrite(path, () => Buffer.from('neither gzip nor tar'))],
] as const) {
  test(`a layer that is ${what} in one import comes from another that has it, in any order`, async (t) => {
    const layersOf = async (folder: string) => [...(await loadFolder(folder)).graph.descriptors.values()];
    const same = changedFixture(t, 'max-gzip', () => {});
    const other = changedFixture(t, 'max-gzip', (_manifest, config) => {
      config.records.push({ digest: sha256('another step') });
    });
    for (const folder of [same, other]) {
      for (const { digest, size } of await layersOf(folder)) if (size > 200) harm(blobPath(folder, digest));
      for (const options of ['', ',compression=zstd,force-compression=true', ',compression=zstd']) {
        const digests = new Set<string | undefined>();
        for (const imports of [
          [`type=local,src=${folder}`, importOf('max-gzip')],
          [importOf('max-gzip'), `type=local,src=${folder}`],
        ]) {
          const out = temporary(t);
          const { exports } = await copyCache({ imports, exports: [`type=local,dest=${out}${options}`] });
          digests.add(exports[0]?.descriptor.digest);
          await assertSound(t, out);
        }
        t.is(digests.size, 1);
      }
      const alone = copyOne(`type=local,src=${folder}`, `type=local,dest=${temporary(t)}`);
      await t.throwsAsync(alone, { instanceOf: CacheError, code: 'CORRUPT' });
    }
  });
}

test('what is read again from another place is not counted as progress twice', async (t) => {
  const folder = changedFixture(t, 'max-gzip', () => {});
  const source = await loadFixture('max-gzip');
  for (const { digest } of source.graph.descriptors.values()) {
    rewrite(blobPath(folder, digest), (bytes) => bytes.map((byte, at) => (at === 12 ? byte ^ 255 : byte)));
  }
  let [expected, seen] = [0, 0];
  await copyCache({
    imports: [`type=local,src=${folder}`, importOf('max-gzip')],
    exports: [`type=local,dest=${temporary(t)}`],
    onProgress(event) {
      if (event.type === 'start') expected = event.bytes;
      if (event.type === 'bytes') seen += event.bytes;
    },
  });
  t.is(seen, expected);
});

function rewrite(path: string, change: (bytes: Buffer) => Uint8Array): void {
  const bytes = change(readFileSync(path));
  rmSync(path);
  writeFileSync(path, bytes, { mode: 0o444 });
}
