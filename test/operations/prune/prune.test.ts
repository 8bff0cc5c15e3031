import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { collectGarbage } from '../../../src/operations/gc.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { LAST_USED } from '../../../src/layout/index/index-json.js';
import { REF_NAME } from '../../../src/oci/descriptor.js';
import { sha256 } from '../../../src/oci/digest.js';
import { OCI_IMAGE_CONFIG, OCI_INDEX, OCI_MANIFEST } from '../../../src/oci/media-types.js';
import { prune } from '../../../src/operations/prune/prune.js';
import { resolveCache } from '../../../src/operations/resolve.js';
import { importCache } from '../../../src/operations/import.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { importOf, loadFixture, temporary } from '../../support/fixtures.js';
import {
  age,
  copyFixture,
  entriesOf,
  type Entry,
  grown,
  blobPath,
  put,
  sizeOf,
  tagsOf,
  writeEntries,
} from '../../support/folders.js';

// The results of fixtures are older than that.
const DAY = 86_400_000;

test('a limit is kept with whole chains evicted, keys kept and protected tags as they were', async (t) => {
  const folder = grown(t);
  const [main] = entriesOf(folder);
  const { shrunk, size, unmet } = await prune(folder, { maxSize: 15_000, keep: ['main'] });
  t.deepEqual(
    shrunk.map(({ tag, results, resultsBefore }) => [tag, results, resultsBefore]),
    [['feature', 3, 7]],
  );
  t.deepEqual(unmet, []);
  t.true(size <= 15_000);
  t.deepEqual(entriesOf(folder)[0], main);
  t.true((await verifyFolder(folder, { deep: true })).sound);
  const left = readdirSync(join(folder, 'blobs', 'sha256')).length;
  const again = await prune(folder, { maxSize: 15_000, keep: ['main'] });
  t.deepEqual([again.shrunk.length, again.collected?.removed.count], [0, 0]);
  t.is(readdirSync(join(folder, 'blobs', 'sha256')).length, left);
});

for (const [what, policy] of [
  ['a tag goes', { untag: ['feature'] }],
  ['results go', { maxSize: 15_000, keep: ['main'] }],
  ['both', { maxSize: 6000, untag: ['main'] }],
  ['nothing to do', { maxSize: 1e9 }],
] as const) {
  test(`a dry run says the same as what is done then, and changes nothing: ${what}`, async (t) => {
    const folder = grown(t);
    const before = readFileSync(join(folder, 'index.json'));
    const plan = await prune(folder, { ...policy, dryRun: true });
    t.deepEqual(readFileSync(join(folder, 'index.json')), before);
    t.is(readdirSync(join(folder, 'blobs', 'sha256')).length, 20);
    const done = await prune(folder, policy);
    t.deepEqual(plan, done);
    t.is(done.collected?.live.bytes, sizeOf(folder));
  });
}

test('caches in images count, and are not touched', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('max-gzip', folder);
  const caches = entriesOf(folder);
  copyFixture('inline-image', folder);
  writeEntries(folder, [...caches, ...entriesOf(folder)]);
  const all = sizeOf(folder);
  for (const [limit, count] of [
    [12_000, 0],
    [6000, 1],
  ] as const) {
    for (const keep of [[], ['*inline']]) {
      const { sizeBefore, size, unmet } = await prune(folder, { maxSize: limit, keep, dryRun: true });
      t.is(sizeBefore, all);
      t.is(unmet.length, count, `${limit}`);
      t.is(size <= limit, count === 0, `${size}`);
    }
  }
  const image = entriesOf(folder)[1];
  const { size } = await prune(folder, { maxSize: 12_000, grace: 0 });
  t.is(sizeOf(folder), size);
  t.deepEqual(entriesOf(folder)[1], image);
});

test('layers that a manifest lists and no result needs count, and go before any result', async (t) => {
  const folder = cacheWith(t, (manifest) => {
    manifest.layers.push({ mediaType: `${LAYER}+gzip`, ...put(manifest.folder, 'x'.repeat(50_000)), annotations });
  });
  const all = sizeOf(folder);
  const { sizeBefore, size, shrunk, unmet } = await prune(folder, { maxSize: 20_000, grace: 0 });
  t.is(sizeBefore, all);
  t.deepEqual(
    shrunk.map(({ results, resultsBefore }) => [results, resultsBefore]),
    [[7, 7]],
  );
  t.deepEqual(unmet, []);
  t.is(size, sizeOf(folder));
  t.true(size < 20_000);
  t.true((await verifyFolder(folder, { deep: true })).sound);
});

test('foreign layers that are not there need no room', async (t) => {
  const folder = cacheWith(t, (manifest) => {
    const [layer] = manifest.layers.toSorted((a, b) => b.size - a.size);
    if (layer === undefined) return;
    layer.mediaType = `${LAYER.replace('layer', 'layer.nondistributable')}+gzip`;
    rmSync(blobPath(manifest.folder, layer.digest));
  });
  t.like((await verifyFolder(folder)).findings, [{ kind: 'missing' }]);
  const all = sizeOf(folder);
  const { sizeBefore, shrunk } = await prune(folder, { maxSize: all, grace: 0 });
  t.is(sizeBefore, all);
  t.is(shrunk.length, 0);
  const { size, unmet } = await prune(folder, { maxSize: all - 1, grace: 0 });
  t.deepEqual(unmet, []);
  t.is(size, sizeOf(folder));
  t.true(size < all);
});

interface Manifest {
  readonly folder: string;
  readonly layers: { mediaType: string; digest: string; size: number; annotations: object }[];
}

const LAYER = 'application/vnd.oci.image.layer.v1.tar';
const annotations = { 'containerd.io/uncompressed': sha256('a tar') };

/** A cache whose manifest was changed. */
function cacheWith(t: ExecutionContext, change: (manifest: Manifest) => void): string {
  const folder = join(temporary(t), 'cache');
  copyFixture('max-gzip', folder);
  const [entry] = entriesOf(folder);
  const manifest = JSON.parse(readFileSync(blobPath(folder, entry?.digest ?? ''), 'utf8')) as Omit<Manifest, 'folder'>;
  change({ ...manifest, folder });
  rmSync(blobPath(folder, entry?.digest ?? ''));
  writeEntries(folder, [{ ...entry, ...put(folder, JSON.stringify(manifest)) }]);
  return folder;
}

test('what cannot be reached is said', async (t) => {
  const { unmet } = await prune(grown(t), { maxSize: 100, keep: ['*'] });
  t.is(unmet.length, 1);
});

test('a lower limit leaves a part of what a higher one does', async (t) => {
  const blobs = async (maxSize: number) => {
    const folder = grown(t);
    await prune(folder, { maxSize });
    t.true((await verifyFolder(folder)).sound);
    const { manifests } = { manifests: entriesOf(folder) };
    const layers = manifests.flatMap(({ digest }) => {
      const text = readFileSync(blobPath(folder, digest), 'utf8');
      return (JSON.parse(text) as { layers: { digest: string }[] }).layers.map((layer) => layer.digest);
    });
    return new Set(layers);
  };
  let before = await blobs(1e9);
  for (const limit of [17_000, 14_000, 11_000, 8000, 5000]) {
    const now = await blobs(limit);
    for (const blob of now) t.true(before.has(blob), `${limit}`);
    before = now;
  }
});

test('what is of an unknown media type, and images that are there in part, are kept and counted', async (t) => {
  const folder = grown(t);
  const thing = put(folder, '{"some":"thing"}');
  const layer = put(folder, 'text');
  const config = { mediaType: OCI_IMAGE_CONFIG, digest: sha256('not there'), size: 9 };
  const part = put(
    folder,
    JSON.stringify({ mediaType: OCI_MANIFEST, config, layers: [{ mediaType: 'text/plain', ...layer }] }),
  );
  const gone = { mediaType: OCI_MANIFEST, digest: sha256('not there either'), size: 16 };
  const index = put(folder, JSON.stringify({ mediaType: OCI_INDEX, manifests: [gone] }));
  const annotations = (name: string) => ({ annotations: { [REF_NAME]: name } });
  const others = [
    { mediaType: 'application/vnd.example.thing+json', ...thing, ...annotations('thing') },
    { mediaType: OCI_MANIFEST, ...part, ...annotations('part') },
    { mediaType: OCI_INDEX, ...index, ...annotations('index') },
  ];
  writeEntries(folder, [...entriesOf(folder), ...others]);
  t.true((await verifyFolder(folder)).sound);
  const { shrunk, size, unmet } = await prune(folder, { maxSize: 15_000, fitImportLimit: true, grace: 0 });
  t.true(shrunk.length > 0);
  t.deepEqual(unmet, []);
  t.true(size <= 15_000);
  t.deepEqual(tagsOf(folder), ['main', 'feature', 'thing', 'part', 'index']);
  t.deepEqual(entriesOf(folder).slice(2), others);
  t.true((await verifyFolder(folder)).sound);
  t.is(size, sizeOf(folder));
  t.is((await prune(folder, { untag: ['thing', 'part', 'index'] })).dropped.length, 3);
});

test('a cache that cannot be read is an error, and nothing is changed', async (t) => {
  const folder = grown(t);
  const [main] = entriesOf(folder);
  const { config } = JSON.parse(readFileSync(blobPath(folder, main?.digest ?? ''), 'utf8')) as { config: Entry };
  rmSync(blobPath(folder, config.digest));
  await t.throwsAsync(prune(folder, { untag: ['*'] }), { instanceOf: CacheError, code: 'CORRUPT' });
  t.is(entriesOf(folder).length, 2);
});

test('the store remembers what was used, and other folders are left alone', async (t) => {
  const store = join(temporary(t), 'store');
  await importCache(store, 'a', [importOf('max-gzip')]);
  await importCache(store, 'b', [importOf('max-zstd')]);
  const stamp = (name: string, time: string) => {
    const text = readFileSync(join(store, 'index.json'), 'utf8');
    const index = JSON.parse(text) as { manifests: Entry[] };
    for (const { annotations } of index.manifests) {
      if (annotations['org.opencontainers.image.ref.name'] === name) annotations[LAST_USED] = time;
    }
    writeFileSync(join(store, 'index.json'), JSON.stringify(index));
  };
  stamp('a', '2020-01-01T00:00:00.000Z');
  stamp('b', '2020-01-01T00:00:00.000Z');
  t.is((await prune(store, { maxAge: DAY, dryRun: true })).dropped.length, 0);
  age(store, 2);
  await resolveCache(`type=local,src=${store},tag=b`);
  const { dropped: gone } = await prune(store, { maxAge: DAY });
  t.deepEqual(
    gone.map(({ tag }) => tag),
    ['a'],
  );
  age(store, 2);
  stamp('b', '2020-01-01T00:00:00.000Z');
  await copyCache({ imports: [`type=local,src=${store},tag=b`], exports: [`type=local,dest=${temporary(t)}`] });
  t.is((await prune(store, { maxAge: DAY })).dropped.length, 0);
  const folder = grown(t);
  const before = readFileSync(join(folder, 'index.json'));
  await resolveCache(`type=local,src=${folder},tag=main`);
  t.deepEqual(readFileSync(join(folder, 'index.json')), before);
});

test('what was copied into a folder a moment ago is young, whatever its results say', async (t) => {
  const folder = temporary(t);
  const copy = () => copyCache({ imports: [importOf('grown', 'main')], exports: [`type=local,dest=${folder}`] });
  const dropped = async (maxAge: number) => (await prune(folder, { maxAge, dryRun: true })).dropped;
  await copy();
  t.deepEqual(await dropped(DAY), []);
  age(folder, 2);
  t.like(await dropped(DAY), [{ tag: 'latest', reason: 'max-age', lastUsedBy: 'file' }]);
  t.deepEqual(await dropped(3 * DAY), []);
  // All of it is there already, and it is used again.
  await copy();
  t.deepEqual(await dropped(DAY), []);
});

test('a use of a folder is recorded without a change of index.json; the latest of all that is known counts', async (t) => {
  const folder = grown(t);
  const uses = [
    (cache: string) => resolveCache(cache),
    (cache: string) => copyCache({ imports: [cache], exports: [`type=local,dest=${temporary(t)}`] }),
    async (cache: string) => resolveCache(`${cache},digest=${(await resolveCache(cache)).digest}`),
  ];
  const before = readFileSync(join(folder, 'index.json'));
  for (const use of uses) {
    age(folder, 10_000);
    // Its results are younger than its file.
    const made = await prune(folder, { maxAge: DAY, dryRun: true });
    t.deepEqual(
      made.dropped.map(({ lastUsedBy }) => lastUsedBy),
      ['created', 'created'],
    );
    await use(`type=local,src=${folder},tag=main`);
    const { dropped } = await prune(folder, { maxAge: DAY, dryRun: true });
    t.deepEqual(
      dropped.map(({ tag }) => tag),
      ['feature'],
    );
  }
  t.deepEqual(readFileSync(join(folder, 'index.json')), before);
});

test('a cache is as old after it was made smaller as it was before', async (t) => {
  const folder = grown(t);
  age(folder, 2);
  const { shrunk } = await prune(folder, { maxSize: 1000 });
  t.is(shrunk.length, 2);
  const { dropped } = await prune(folder, { maxAge: DAY, dryRun: true });
  t.is(dropped.length, 2);
});

test('a config over the import limit is brought under it, with the latest results', async (t) => {
  const folder = join(temporary(t), 'cache');
  await copyCache({ imports: [importOf('max-gzip')], exports: [`type=local,dest=${folder}`] });
  await makeHuge(folder);
  t.false((await verifyFolder(folder)).sound);
  const { shrunk } = await prune(folder, { fitImportLimit: true, grace: 0 });
  t.is(shrunk[0]?.reason, 'import-limit');
  t.true((shrunk[0]?.results ?? 0) > 0);
  t.true((await verifyFolder(folder)).sound);
  t.is((await prune(folder, { fitImportLimit: true })).shrunk.length, 0);
});

/** Twelve thousand records on the layers of a small cache. */
async function makeHuge(folder: string): Promise<void> {
  const { saveGraph } = await import('../../../src/graph/save.js');
  const { canonical } = await import('../../../src/graph/canonical.js');
  const { graph } = await loadFixture('max-gzip');
  const records = Array.from({ length: 12_000 }, (_, index) => ({
    digest: sha256(`record ${index}`),
    inputs: [],
    results: [
      {
        layer: index % graph.layers.length,
        createdAt: `2026-01-01T00:00:${String(index % graph.layers.length).padStart(2, '0')}Z`,
      },
    ],
    chains: [],
  }));
  const [config, manifest] = saveGraph(canonical({ ...graph, records }), 'image-manifest').documents;
  for (const { descriptor, bytes } of [config, manifest]) {
    writeFileSync(blobPath(folder, descriptor.digest), bytes);
  }
  const annotations = { 'org.opencontainers.image.ref.name': 'latest' };
  writeFileSync(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest.descriptor, annotations }] }),
  );
}

test('dropping tags frees what they alone needed, at once', async (t) => {
  const folder = grown(t);
  const { dropped: gone, collected } = await prune(folder, { untag: ['feature'] });
  t.deepEqual(
    gone.map(({ tag }) => tag),
    ['feature'],
  );
  t.true((collected?.removed.count ?? 0) > 8);
  t.deepEqual(tagsOf(folder), ['main']);
  t.true((await verifyFolder(folder)).sound);
  t.is((await collectGarbage(folder, { grace: 0 })).removed.count, 0);
  t.false(existsSync(join(folder, '.bkcache')));
});
