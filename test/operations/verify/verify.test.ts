import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { DAMAGED, filesOf, flip, isFound, isFreeText, remove, truncate } from '../../support/damage.js';
import { damageRound } from '../../../scripts/torture/damage.js';
import { hostileRound } from '../../../scripts/torture/hostile.js';
import { Random } from '../../../scripts/torture/random.js';
import { CacheError } from '../../../src/errors.js';
import { sha256 } from '../../../src/oci/digest.js';
import { OCI_MANIFEST } from '../../../src/oci/media-types.js';
import { sampleOf } from '../../../src/operations/verify/sample.js';
import { verifyCache, verifyFolder } from '../../../src/operations/verify/verify.js';
import { bkcache } from '../../support/command.js';
import { fixture, FIXTURES, importOf, temporary } from '../../support/fixtures.js';
import { blobPath, entriesOf, folderOf, put, writeEntries } from '../../support/folders.js';

/** A diffID in a manifest, and the part of it that stays. */
const DIFF_ID = /("containerd.io\/uncompressed":"sha256:)[0-9a-f]{4}/g;

for (const name of new Set([...FIXTURES.map(([folder]) => folder), 'inline-image', 'inline-multiplatform'])) {
  test(`${name}, as BuildKit wrote it, is sound`, async (t) => {
    const { sound, findings } = await verifyFolder(fixture(name), { deep: true });
    t.true(sound);
    t.deepEqual(
      findings.map(({ kind }) => kind),
      name === 'grown' ? ['unused'] : [],
    );
  });
}

test('one cache can be checked by its import string', async (t) => {
  const { sound, tags, blobs, read } = await verifyCache(importOf('grown', 'main'));
  t.deepEqual({ sound, tags, blobs, read }, { sound: true, tags: 1, blobs: 8, read: 8 });
  await t.throwsAsync(verifyCache(importOf('grown', 'nope')), { instanceOf: CacheError, message: /no tag/ });
});

test('one damaged cache of a folder is mended by repairing its folder', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  const path = filesOf(folder).find((file) => file.startsWith('blobs')) ?? '';
  flip(folder, path, 0, 1);
  const { findings } = await verifyCache(`type=local,src=${folder}`);
  t.is(findings[0]?.repair, `bkcache repair --from OPTS ${folder}`);
});

test('every byte of index.json and oci-layout that can be told to be wrong is', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  for (const path of ['index.json', 'oci-layout']) {
    const bytes = readFileSync(join(folder, path));
    for (const at of bytes.keys()) {
      if (path === 'index.json' && isFreeText(bytes, at)) continue;
      const { what, undo } = flip(folder, path, at, 1);
      t.true(await isFound(folder), what);
      undo();
    }
  }
});

for (const name of DAMAGED) {
  test(`a byte of any blob of ${name}, a missing file, and one that is cut short are found`, async (t) => {
    const folder = folderOf(t, name);
    for (const path of filesOf(folder)) {
      const { length } = readFileSync(join(folder, path));
      if (path.startsWith('blobs')) {
        const step = Math.ceil(length / 3);
        for (let at = 0; at < length; at += step) {
          const { what, undo } = flip(folder, path, at, 0x10);
          t.true(await isFound(folder), what);
          undo();
        }
      }
      for (const size of new Set([0, length >> 1, length - 1])) {
        if (size >= length) continue;
        const { what, undo } = truncate(folder, path, size);
        t.true(await isFound(folder), what);
        undo();
      }
      if (name === 'grown') continue;
      const { what, undo } = remove(folder, path);
      t.true(await isFound(folder), what);
      undo();
    }
    t.true((await verifyFolder(folder)).sound);
  });
}

test('random damage of every kind is found, and nothing else breaks on it', async (t) => {
  const work = temporary(t);
  for (let seed = 0; seed < 3; seed++) await t.notThrowsAsync(damageRound(new Random(seed), work), `seed ${seed}`);
});

test('documents that somebody made up are refused or repaired', async (t) => {
  const work = temporary(t);
  for (let seed = 100; seed < 104; seed++) await t.notThrowsAsync(hostileRound(new Random(seed), work), `seed ${seed}`);
});

test('all findings are reported, with tag, digest, file and the command that repairs it', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  const manifest = JSON.parse(
    readFileSync(
      join(folder, 'blobs', 'sha256', '75a5e96d1b4fed5d08e1d3c1cec2d3006fd4e23a138e23d4e5a95288a41a0ed4'),
      'utf8',
    ),
  ) as { layers: { digest: string; size: number }[] };
  const [first, , second, third] = manifest.layers.map(({ digest }) => digest.slice('sha256:'.length));
  rmSync(join(folder, 'blobs', 'sha256', first ?? ''));
  truncate(folder, join('blobs', 'sha256', second ?? ''), 5);
  flip(folder, join('blobs', 'sha256', third ?? ''), 20, 1);
  rmSync(join(folder, 'oci-layout'));
  const { findings, sound } = await verifyFolder(folder);
  t.false(sound);
  t.deepEqual(findings.map(({ kind }) => kind).toSorted(), ['damaged', 'damaged', 'layout', 'missing']);
  const cut = findings.find(({ wrong }) => wrong === 'size');
  t.like(cut, {
    tags: ['latest'],
    digest: `sha256:${second}`,
    found: '5 bytes',
    expected: `${manifest.layers[2]?.size} bytes`,
  });
  t.true(cut?.file?.endsWith(second ?? 'x'));
  for (const { kind, repair } of findings)
    t.is(repair, `bkcache repair ${kind === 'layout' ? '' : '--from OPTS '}${folder}`);
});

test('a layer whose tar is another one is found by looking deep', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  rewriteManifest(folder, (text) => text.replaceAll(DIFF_ID, '$10000'));
  t.true((await verifyFolder(folder)).sound);
  const { sound, findings } = await verifyFolder(folder, { deep: true });
  t.false(sound);
  // One of the seven is listed twice.
  t.is(findings.length, 6);
  t.regex(findings[0]?.message ?? '', /diffID/);
  t.regex(findings[0]?.repair ?? '', /--deep/);
});

test('of a layer that is listed twice the last descriptor counts, as it does to BuildKit', async (t) => {
  for (const [wrong, isSound] of [
    [0, true],
    [1, false],
  ] as const) {
    const folder = folderOf(t, 'max-gzip');
    let at = 0;
    rewriteManifest(folder, (text) =>
      text.replaceAll(DIFF_ID, (id, head: string) => (at++ === wrong ? `${head}0000` : id)),
    );
    t.is((await verifyFolder(folder, { deep: true })).sound, isSound, `descriptor ${wrong}`);
  }
});

test('a cache that BuildKit never imports since it is too large is not sound', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  rewriteManifest(folder, (text) => text.replace('{', `{${' '.repeat(1 << 20)}`));
  const { findings } = await verifyFolder(folder);
  t.deepEqual(
    findings.filter(({ severity }) => severity === 'corrupt').map(({ kind }) => kind),
    ['oversize'],
  );
  t.regex(findings[0]?.repair ?? '', /prune --fit-import-limit/);
});

test('images that are not there are only noted, but for those beside an image with a cache', async (t) => {
  const folder = folderOf(t, 'inline-multiplatform');
  const index = readFileSync(
    join(folder, 'blobs', 'sha256', '5048b6c4bb62bd1b740dc937b00ca98f9160aaf4ecd5423d74d1d126f5a8324a'),
    'utf8',
  );
  const { manifests } = JSON.parse(index) as { manifests: { digest: string }[] };
  const lose = (at: number) => rmSync(blobPath(folder, manifests[at]?.digest ?? ''));
  lose(0);
  // BuildKit reads the images of all platforms, and imports nothing when one is missing.
  const partly = await verifyFolder(folder);
  t.false(partly.sound);
  t.like(partly.findings[0], { kind: 'missing', effect: 'import-refused', tags: ['example.com/team/tiny:multi'] });
  lose(1);
  const { sound, findings } = await verifyFolder(folder);
  t.true(sound);
  t.is(findings.filter(({ kind }) => kind === 'sparse').length, 2);
});

test('a layer that has no end is given up at the limit', async (t) => {
  const { sound, findings } = await verifyFolder(folderOf(t, 'max-gzip'), { deep: true, maxLayerSize: 100 });
  t.false(sound);
  t.regex(findings[0]?.message ?? '', /decompresses to more than 100 bytes/);
});

test('parts of the blobs: seven sevenths are all, a share is a share, and a size is not exceeded', async (t) => {
  const blobs = Array.from({ length: 100 }, (_, index) => ({ digest: sha256(`${index}`), size: index }));
  const parts = [1, 2, 3, 4, 5, 6, 7].flatMap((part) => sampleOf(blobs, { part, of: 7 }, (blob) => blob));
  t.is(new Set(parts).size, 100);
  t.is(parts.length, 100);
  t.is(sampleOf(blobs, { share: 0.1 }, (blob) => blob).length, 10);
  const chosen = sampleOf(blobs, { bytes: 500 }, (blob) => blob);
  t.true(chosen.reduce((sum, { size }) => sum + size, 0) <= 500);
  const { read, blobs: all } = await verifyFolder(fixture('max-gzip'), { sample: { share: 0.5 } });
  t.true(read < all);
});

test('nesting, size and number have bounds', async (t) => {
  const folder = join(temporary(t), 'cache');
  mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(folder, 'index.json'), `{"manifests":[],"x":${'['.repeat(1e6)}${']'.repeat(1e6)}}`);
  const { findings } = await verifyFolder(folder);
  t.regex(findings[0]?.message ?? '', /nested/);
  writeFileSync(join(folder, 'index.json'), Buffer.alloc(100 * 1024 * 1024, ' '));
  t.regex((await verifyFolder(folder)).findings[0]?.message ?? '', /over the limit/);
});

/** Changes the manifest of the only tag, and the entry that names it. */
function rewriteManifest(folder: string, change: (text: string) => string): void {
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
    manifests: [{ digest: string; size: number }];
  };
  const [entry] = index.manifests;
  const path = blobPath(folder, entry.digest);
  const bytes = change(readFileSync(path, 'utf8'));
  rmSync(path);
  entry.digest = sha256(bytes);
  entry.size = bytes.length;
  writeFileSync(blobPath(folder, entry.digest), bytes);
  writeFileSync(join(folder, 'index.json'), JSON.stringify(index));
}

test('an oci-layout that a build is writing at this moment is read again', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  const path = join(folder, 'oci-layout');
  const bytes = readFileSync(path);
  writeFileSync(path, '');
  setTimeout(() => writeFileSync(path, bytes), 20);
  t.deepEqual((await verifyFolder(folder)).findings, []);
});

test('--quiet prints nothing, and the exit codes say it all', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  const quiet = { signal: null, stdout: '', stderr: '' };
  t.deepEqual(await bkcache(['verify', '--quiet', folder]), { code: 0, ...quiet });
  flip(folder, filesOf(folder).find((file) => file.startsWith('blobs')) ?? '', 0, 1);
  t.deepEqual(await bkcache(['verify', '--quiet', folder]), { code: 4, ...quiet });
  t.deepEqual(await bkcache(['repair', '--quiet', '--dry-run', folder]), { code: 4, ...quiet });
  t.deepEqual(await bkcache(['repair', '--quiet', folder]), { code: 0, ...quiet });
});

test('an artifact is noted by its type, and by that of its config where it has none', async (t) => {
  for (const [fields, type] of [
    [{ artifactType: 'application/x.ours' }, 'application/x.ours'],
    [{}, 'application/x.config'],
  ] as const) {
    const folder = folderOf(t, 'max-gzip');
    const config = { mediaType: 'application/x.config', ...put(folder, '{}') };
    const manifest = put(
      folder,
      JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, ...fields, config, layers: [] }),
    );
    const annotations = { 'org.opencontainers.image.ref.name': 'artifact' };
    writeEntries(folder, [...entriesOf(folder), { mediaType: OCI_MANIFEST, ...manifest, annotations }]);
    const { sound, findings } = await verifyFolder(folder);
    t.true(sound);
    t.true(findings.some(({ message }) => message === `an artifact of type ${type}, and no build cache`));
  }
});
