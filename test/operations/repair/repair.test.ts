import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { flip, truncate } from '../../support/damage.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { sha256 } from '../../../src/oci/digest.js';
import { hasResults } from '../../../src/graph/graph.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { FaultyFolder } from '../../support/faults.js';
import { fixture, importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { digestOfCache, loadFolder } from '../../support/caches.js';
import { blobName, contentsOf, folderOf } from '../../support/folders.js';

const load = (folder: string, tag = 'latest') => loadFolder(folder, tag);

/** What a folder has, without what a process that reads it leaves there. */
const unlocked = (folder: string) => contentsOf(folder, /^\.bkcache|lock$/);

for (const name of ['max-gzip', 'grown', 'max-estargz', 'inline-multiplatform', 'max-gzip-docker-list']) {
  test(`a sound folder stays as it is: ${name}`, async (t) => {
    const folder = folderOf(t, name);
    const { actions, sound } = await repairFolder(folder, { deep: true });
    t.true(sound);
    t.deepEqual(actions, []);
    t.deepEqual(unlocked(folder), unlocked(fixture(name)));
  });
}

test('good bytes come from elsewhere, whatever is wrong, and the folder is what it was', async (t) => {
  const { graph, saved } = await loadFixture('max-gzip');
  const blobs = [...graph.descriptors.keys(), saved?.documents[0].descriptor.digest, digestOfCache({ saved })];
  const damages: ((folder: string, path: string) => unknown)[] = [
    (folder, path) => flip(folder, path, 10, 1),
    (folder, path) => truncate(folder, path, 3),
    (folder, path) => rmSync(join(folder, path)),
    (folder, path) => {
      rmSync(join(folder, path));
      symlinkSync('/etc/passwd', join(folder, path));
    },
    (folder, path) => {
      rmSync(join(folder, path));
      mkdirSync(join(folder, path));
    },
  ];
  for (const damage of damages) {
    for (const blob of blobs) {
      const folder = folderOf(t, 'max-gzip');
      damage(folder, blobName(blob));
      const { sound, actions } = await repairFolder(folder, { from: [importOf('max-gzip')] });
      t.true(sound);
      t.true(actions.some(({ type }) => type === 'fetched'));
      t.deepEqual(unlocked(folder), unlocked(fixture('max-gzip')));
      t.false(existsSync(join(folder, 'index.json.before-repair')));
    }
  }
});

test('what cannot be had is cut out, and everything else can be imported', async (t) => {
  const { graph } = await loadFixture('max-gzip');
  for (const blob of graph.descriptors.keys()) {
    const folder = folderOf(t, 'max-gzip');
    flip(folder, blobName(blob), 10, 1);
    const { sound, actions } = await repairFolder(folder);
    t.true(sound);
    t.deepEqual(
      actions.map(({ type }) => type),
      ['cut', 'set-aside'],
    );
    const left = await load(folder);
    t.is(left.graph.records.length, graph.records.length);
    t.false(left.graph.descriptors.has(blob));
    t.true(left.graph.records.filter(hasResults).length > 0);
    // BuildKit writes a blob only where no file is.
    t.false(existsSync(join(folder, blobName(blob))));
    await copyCache({ imports: [`type=local,src=${folder}`], exports: [`type=local,dest=${temporary(t)}`] });
    t.deepEqual((await repairFolder(folder)).actions, []);
  }
});

test('a tag whose manifest cannot be had goes, and the others stay', async (t) => {
  const folder = folderOf(t, 'grown');
  const { saved } = await loadFixture('grown', 'main');
  flip(folder, blobName(digestOfCache({ saved })), 30, 1);
  const { sound, actions } = await repairFolder(folder);
  t.true(sound);
  t.deepEqual(actions.map(({ type }) => type).toSorted(), ['dropped', 'set-aside']);
  const feature = await loadFixture('grown', 'feature');
  t.is(digestOfCache(await load(folder, 'feature')), digestOfCache(feature));
});

test('a dry run says what would be done, and changes nothing', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  const { graph } = await loadFixture('max-gzip');
  const [blob = ''] = graph.descriptors.keys();
  flip(folder, blobName(blob), 10, 1);
  const before = unlocked(folder);
  const fetching = await repairFolder(folder, { from: [importOf('max-gzip')], dryRun: true });
  t.deepEqual(
    fetching.actions.map(({ type }) => type),
    ['fetched'],
  );
  const cutting = await repairFolder(folder, { dryRun: true });
  t.deepEqual(
    cutting.actions.map(({ type }) => type),
    ['cut', 'set-aside'],
  );
  t.false(cutting.sound);
  t.deepEqual(unlocked(folder), before);
});

for (const [name, deep, change] of [
  ['a size below zero', false, (text: string) => text.replaceAll(/"size":\s*\d+/g, '"size":-1')],
  ['a size over 64 bits', false, (text: string) => text.replaceAll(/"size":\s*\d+/g, '"size":18446744073709551616')],
  ['a copy of its bytes that is none', false, (text: string) => text.replace(/"size":/, '"data":"!","size":')],
  [
    'an empty list of annotations',
    true,
    (text: string) => text.replaceAll(/"annotations":\s*\{[^}]*\}/g, '"annotations":[]'),
  ],
] as const) {
  test(`what the bytes of blobs tell is put right, and nothing is cut: ${name}`, async (t) => {
    const folder = folderOf(t, 'max-gzip');
    new FaultyFolder(folder).manifestText(change);
    t.false((await verifyFolder(folder)).sound);
    const { actions, sound } = await repairFolder(folder, { deep });
    t.deepEqual(
      actions.map(({ type }) => type),
      ['rewritten'],
    );
    t.true(sound);
    const [{ graph }, before] = [await load(folder), await loadFixture('max-gzip')];
    t.is(graph.records.filter(hasResults).length, before.graph.records.filter(hasResults).length);
    t.deepEqual(
      [...graph.descriptors.values()].map(({ size }) => size),
      [...before.graph.descriptors.values()].map(({ size }) => size),
    );
  });
}

test('an entry of an unknown kind stays', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  const path = join(folder, 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8')) as { manifests: object[] };
  const thing = Buffer.from('a thing of its own');
  const digest = sha256(thing);
  writeFileSync(join(folder, blobName(digest)), thing);
  index.manifests.push({ mediaType: 'application/vnd.example.thing', digest, size: thing.length });
  writeFileSync(path, JSON.stringify(index));
  const { graph } = await loadFixture('max-gzip');
  const [layer] = graph.descriptors.keys();
  rmSync(join(folder, blobName(layer)));
  const { actions } = await repairFolder(folder);
  t.deepEqual(
    actions.map(({ type }) => type),
    ['cut'],
  );
  t.regex(readFileSync(path, 'utf8'), new RegExp(digest));
});

test('an index.json that is broken is read as far as it goes', async (t) => {
  const folder = folderOf(t, 'grown');
  const text = readFileSync(join(folder, 'index.json'), 'utf8');
  // The second entry loses its end.
  writeFileSync(join(folder, 'index.json'), text.slice(0, -10));
  const { actions, sound } = await repairFolder(folder);
  t.true(sound);
  t.like(actions[0], { type: 'rebuilt', entries: 1 });
  const { saved } = await load(folder, 'main');
  t.is(digestOfCache({ saved }), digestOfCache(await loadFixture('grown', 'main')));
});

test('without index.json and oci-layout, the only cache among the blobs is the latest', async (t) => {
  const folder = folderOf(t, 'max-zstd');
  rmSync(join(folder, 'index.json'));
  rmSync(join(folder, 'oci-layout'));
  const { actions, sound } = await repairFolder(folder);
  t.true(sound);
  t.deepEqual(
    actions.map(({ type }) => type),
    ['rebuilt', 'marked'],
  );
  t.true((await verifyFolder(folder)).sound);
  t.is(digestOfCache(await load(folder)), digestOfCache(await loadFixture('max-zstd')));
});
