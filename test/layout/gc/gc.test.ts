import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { tryFlock } from '../../../src/layout/lock/flock.js';
import { LeasedBlobs } from '../../../src/layout/blobs/leased-blobs.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { openLayout } from '../../../src/layout/layout.js';
import { contentOf } from '../../../src/oci/content.js';
import { sha256 } from '../../../src/oci/digest.js';
import { prune } from '../../../src/operations/prune/prune.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../../../src/layout/settings.js';
import { blobPath, OLD, oldFolderOf } from '../../support/folders.js';

/** A blob that nothing refers to, as BuildKit would leave it. */
function stray(folder: string, text: string, { young = false } = {}): string {
  const digest = sha256(text);
  writeFileSync(blobPath(folder, digest), text);
  if (!young) utimesSync(blobPath(folder, digest), OLD, OLD);
  return digest;
}

const list = (folder: string) => readdirSync(join(folder, 'blobs', 'sha256')).length;

test('what no tag reaches goes, and every tag is whole; a second time there is nothing to do', async (t) => {
  const folder = oldFolderOf(t, 'grown');
  const plan = await collectGarbage(folder, { dryRun: true });
  t.is(list(folder), 20);
  const result = await collectGarbage(folder);
  t.deepEqual(result.removed, { count: 8, bytes: 20_603 });
  t.deepEqual(plan.removed, result.removed);
  t.deepEqual(plan.paths.toSorted(), result.paths.toSorted());
  t.is(list(folder), 12);
  t.true((await verifyFolder(folder, { deep: true })).sound);
  t.is((await collectGarbage(folder)).removed.count, 0);
  t.deepEqual(readdirSync(folder).toSorted(), ['blobs', 'index.json', 'oci-layout']);
});

test('it is said what each tag needs, alone and together with others', async (t) => {
  const { tags } = await collectGarbage(oldFolderOf(t, 'grown'));
  t.deepEqual(
    tags.map(({ tag, total, shared, exclusive }) => [tag, total, shared, exclusive]),
    [
      ['main', 10_880, 572, 10_308],
      ['feature', 8551, 572, 7979],
    ],
  );
});

for (const name of [
  'inline-multiplatform',
  'inline-image',
  'max-gzip-index',
  'max-gzip-docker-list',
  'min-zstd-index',
]) {
  test(`everything of ${name} is needed`, async (t) => {
    const folder = oldFolderOf(t, name);
    const before = list(folder);
    await collectGarbage(folder, { grace: 0 });
    t.is(list(folder), before);
  });
}

test('young blobs stay, and old ones are set aside while an export may be under way', async (t) => {
  const folder = oldFolderOf(t, 'grown');
  const young = stray(folder, 'a layer that a build is exporting', { young: true });
  const result = await collectGarbage(folder);
  t.is(result.removed.count, 0);
  t.is(result.setAside.count, 8);
  t.is(result.young.count, 1);
  t.true(existsSync(blobPath(folder, young)));
  t.is(list(folder), 13);
  t.true((await verifyFolder(folder)).sound);
  // Nothing has needed them since: they go with the grace period.
  const later = await collectGarbage(folder, { grace: 0 });
  t.is(later.removed.count, 9);
  t.deepEqual(readdirSync(folder).toSorted(), ['blobs', 'index.json', 'oci-layout']);
});

test('a blob that an export relied on without a word comes back', async (t) => {
  const folder = oldFolderOf(t, 'grown');
  stray(folder, 'something that the build is exporting', { young: true });
  const blob = stray(folder, 'an old layer');
  const { setAside } = await collectGarbage(folder);
  t.is(setAside.count, 9);
  t.false(existsSync(blobPath(folder, blob)));
  // BuildKit had found the blob before, and only now writes what refers to it.
  const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: blob, size: 12 };
  const manifest = JSON.stringify({ schemaVersion: 2, config: layer, layers: [layer] });
  const digest = stray(folder, manifest, { young: true });
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: object[] };
  index.manifests.push({ mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: manifest.length });
  writeFileSync(join(folder, 'index.json'), JSON.stringify(index));
  const { putBack } = await collectGarbage(folder);
  t.is(putBack.count, 1);
  t.is(readFileSync(blobPath(folder, blob), 'utf8'), 'an old layer');
});

test('an export of BuildKit that is writing a blob shows in ingest/, and what died there goes', async (t) => {
  const folder = oldFolderOf(t, 'grown');
  const ingest = join(folder, 'ingest', 'a'.repeat(64));
  mkdirSync(ingest, { recursive: true });
  writeFileSync(join(ingest, 'data'), 'half a layer');
  t.is((await collectGarbage(folder)).setAside.count, 8);
  t.true(existsSync(ingest));
  const { leftovers } = await collectGarbage(folder, { grace: 0 });
  t.is(leftovers.count, 1);
  t.false(existsSync(ingest));
});

test('an export that begins while gc waits for the lock shows as well', async (t) => {
  const folder = oldFolderOf(t, 'grown');
  const build = openSync(join(folder, 'index.json.lock'), 'w');
  // Others may read meanwhile, and not write.
  t.true(tryFlock(build, 'shared'));
  const collection = collectGarbage(folder);
  await sleep(500);
  stray(folder, 'its first layer', { young: true });
  closeSync(build);
  const { removed, setAside } = await collection;
  t.deepEqual([removed.count, setAside.count], [0, 8]);
});

test('a blob that was written after the manifest of a dropped tag was for another export', async (t) => {
  const folder = oldFolderOf(t, 'max-gzip');
  const { graph } = await loadFixture('max-gzip');
  const [layer = ''] = graph.descriptors.keys();
  utimesSync(blobPath(folder, layer), new Date(), new Date());
  const { collected } = await prune(folder, { untag: ['latest'] });
  t.deepEqual([collected?.removed.count, collected?.setAside.count], [0, 8]);
});

test('with a grace period of nothing, times that are still to come keep nothing', async (t) => {
  const folder = oldFolderOf(t, 'grown');
  const late = stray(folder, 'from a machine with another clock');
  const tomorrow = new Date(Date.now() + 86_400_000);
  utimesSync(blobPath(folder, late), tomorrow, tomorrow);
  t.is((await collectGarbage(folder)).young.count, 1);
  t.is((await collectGarbage(folder, { grace: 0 })).removed.count, 9);
});

test('two collections at once put back the same blob', async (t) => {
  for (let round = 0; round < 5; round++) {
    const folder = oldFolderOf(t, 'grown');
    const { graph } = await loadFixture('grown', 'main');
    const [layer = ''] = graph.descriptors.keys();
    const aside = join(folder, '.bkcache', `removed-${Date.now()}`);
    mkdirSync(aside, { recursive: true });
    renameSync(blobPath(folder, layer), join(aside, layer));
    await t.notThrowsAsync(Promise.all([collectGarbage(folder), collectGarbage(folder)]));
    t.true((await verifyFolder(folder)).sound);
  }
});

for (const inner of ['blobs/elsewhere', 'ingest', '.bkcache']) {
  test(`what ${inner} leads to stays, when that is a link`, async (t) => {
    const other = oldFolderOf(t, 'max-gzip');
    const folder = oldFolderOf(t, 'grown');
    symlinkSync(join(other, 'blobs', 'sha256'), join(folder, inner));
    for (const work of [() => collectGarbage(folder, { grace: 0 }), () => verifyFolder(folder)]) {
      const error = await t.throwsAsync(work(), { instanceOf: CacheError });
      t.is(error.code, 'CORRUPT');
    }
    t.is(list(other), 8);
    t.is(list(folder), 20);
  });
}

test('a link that stood in the place of a blob goes like any other file that was set aside', async (t) => {
  const folder = oldFolderOf(t, 'max-gzip');
  const { graph } = await loadFixture('max-gzip');
  const [layer = ''] = graph.descriptors.keys();
  rmSync(blobPath(folder, layer));
  symlinkSync('/etc/passwd/nowhere', blobPath(folder, layer));
  await repairFolder(folder, { from: [importOf('max-gzip')] });
  t.true((await verifyFolder(folder)).sound);
  t.is((await collectGarbage(folder, { grace: 0 })).removed.count, 1);
  t.false(existsSync(join(folder, '.bkcache')));
});

test('what a running process relies on stays, whoever refers to it, and a dead one keeps nothing', async (t) => {
  const folder = oldFolderOf(t, 'grown');
  const blob = stray(folder, 'relied on');
  const layout = await openLayout(folder);
  t.true(await new LeasedBlobs(layout).has({ digest: blob as never, size: 9 }));
  await collectGarbage(folder, { grace: 0 });
  t.true(existsSync(blobPath(folder, blob)));
  await layout[Symbol.asyncDispose]();
  await collectGarbage(folder, { grace: 0 });
  t.false(existsSync(blobPath(folder, blob)));

  mkdirSync(join(folder, '.bkcache'));
  const id = '01234567-0123-4123-8123-0123456789ab';
  writeFileSync(join(folder, '.bkcache', id), `${blob}\n`);
  writeFileSync(join(folder, '.bkcache', `${id}.1`), 'half a blob');
  const { leftovers } = await collectGarbage(folder);
  t.deepEqual(leftovers, { count: 1, bytes: 83 });
  t.false(existsSync(join(folder, '.bkcache')));
});

test('a cache that is being copied stays whole, though its tag and all time have passed', async (t) => {
  const folder = oldFolderOf(t, 'grown');
  const out = temporary(t);
  let collected = false;
  const exported = `type=local,dest=${out},compression=zstd,force-compression=true`;
  await copyCache({
    imports: [`type=local,src=${folder},tag=main`],
    exports: [exported],
    concurrency: 1,
    onProgress() {
      if (collected) return;
      collected = true;
      writeFileSync(join(folder, 'index.json'), '{"schemaVersion":2,"manifests":[]}');
      void collectGarbage(folder, { grace: 0 });
    },
  });
  t.true((await verifyFolder(out, { deep: true })).sound);
});

for (const [name, damage] of Object.entries({
  'a damaged manifest': (path: string) => writeFileSync(path, readFileSync(path, 'utf8').replace('sha256', 'sha257')),
  'a manifest that is no JSON any more': (path: string) => writeFileSync(path, 'x'.repeat(2536)),
  'a missing manifest': (path: string) => rmSync(path),
})) {
  test(`with ${name} nothing is deleted`, async (t) => {
    const folder = oldFolderOf(t, 'grown');
    const { manifests } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
      manifests: [{ digest: string }];
    };
    damage(blobPath(folder, manifests[0].digest));
    const before = list(folder);
    const error = await t.throwsAsync(collectGarbage(folder, { grace: 0 }), { instanceOf: CacheError });
    t.is(error.code, 'CORRUPT');
    t.regex(error.message, /nothing was deleted/);
    t.is(list(folder), before);
  });
}

test('what belongs to a kept manifest by subject stays, and what a manifest of an unknown kind names', async (t) => {
  const folder = oldFolderOf(t, 'max-gzip');
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
  const subject = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: index.manifests[0]?.digest,
    size: 2536,
  };
  const signature = stray(folder, 'a signature');
  const layer = { mediaType: 'x/y', digest: signature, size: 11 };
  const referrer = stray(folder, JSON.stringify({ schemaVersion: 2, config: layer, layers: [layer], subject }));
  const deep = stray(folder, 'something deep inside');
  const inner = stray(folder, JSON.stringify({ things: [{ is: { [deep]: 1 } }] }));
  const unknown = stray(folder, JSON.stringify({ mediaType: 'application/x-unknown', below: inner }));
  const orphan = stray(folder, JSON.stringify({ mediaType: 'application/x-unknown', below: inner, other: 1 }));
  index.manifests.push({ mediaType: 'application/x-unknown', digest: unknown, size: 1 } as never);
  writeFileSync(join(folder, 'index.json'), JSON.stringify(index));
  await collectGarbage(folder, { grace: 0 });
  for (const digest of [signature, referrer, deep, inner, unknown]) t.true(existsSync(blobPath(folder, digest)));
  t.false(existsSync(blobPath(folder, orphan)));
});

test('reset=true frees what the tag stood for, and leaves alone what others are writing', async (t) => {
  const folder = join(temporary(t), 'cache');
  const exported = `type=local,dest=${folder},tag=main`;
  await copyCache({ imports: [importOf('max-zstd')], exports: [exported] });
  await copyCache({ imports: [importOf('min-gzip')], exports: [`${exported},reset=true`] });
  t.is(list(folder), 5);
  const young = stray(folder, 'of another build', { young: true });
  await copyCache({ imports: [importOf('max-zstd')], exports: [`${exported},reset=true`] });
  t.true(existsSync(blobPath(folder, young)));
  t.true((await verifyFolder(folder)).sound);
});

test('a blob that is there but wrong is replaced: by its size always, by its bytes when healing or named by verify', async (t) => {
  const folder = join(temporary(t), 'cache');
  await copyCache({ imports: [importOf('max-gzip')], exports: [`type=local,dest=${folder}`] });
  const [blob = ''] = readdirSync(join(folder, 'blobs', 'sha256'));
  const path = join(folder, 'blobs', 'sha256', blob);
  const good = readFileSync(path);
  const damage = (bytes: Uint8Array) => {
    rmSync(path);
    writeFileSync(path, bytes);
  };
  const wrong = Buffer.from(good);
  wrong[9] = (wrong[9] ?? 0) ^ 1;
  const write = async (heal: boolean) => {
    const layout = await createLayout(folder, { ...DEFAULT_LAYOUT_SETTINGS, heal });
    const id = { digest: `sha256:${blob}` as never, size: good.length };
    const leased = new LeasedBlobs(layout);
    if (!(await leased.has(id))) await leased.write(contentOf(good), id, { where: 'here', sharing: 'copy' });
    await layout[Symbol.asyncDispose]();
    return readFileSync(path).equals(good);
  };
  damage(good.subarray(0, 10));
  t.true(await write(false));
  damage(wrong);
  t.false(await write(false));
  t.true(await write(true));
  damage(wrong);
  t.false((await verifyFolder(folder)).sound);
  t.true(await write(false));
  t.true((await verifyFolder(folder)).sound);
  t.false(existsSync(join(folder, '.bkcache')));
});
