import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { tryFlock } from '../../../src/layout/lock/flock.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { loadFixture, temporary } from '../../support/fixtures.js';
import { blobPath, copyFixture, folderOf } from '../../support/folders.js';

const indexOf = (folder: string) => join(folder, 'index.json');
const keptOf = (folder: string) => join(folder, 'index.json.before-repair');

/** Begins to write index.json as BuildKit does, in place and under the lock; called, it ends that. */
function beginWrite(folder: string): () => void {
  const whole = readFileSync(indexOf(folder));
  const lock = openSync(`${indexOf(folder)}.lock`, 'w');
  tryFlock(lock, 'exclusive');
  const file = openSync(indexOf(folder), 'r+');
  ftruncateSync(file, 0);
  writeSync(file, whole, 0, 200, 0);
  return () => {
    writeSync(file, whole, 200, whole.length - 200, 200);
    closeSync(file);
    closeSync(lock);
  };
}

test('an index.json that a build is writing is waited for, and is not damage', async (t) => {
  const folder = folderOf(t, 'grown');
  const before = readFileSync(indexOf(folder));
  const end = beginWrite(folder);
  const error = await t.throwsAsync(repairFolder(folder, { layout: { lockTimeout: 50 } }), { instanceOf: CacheError });
  t.is(error.code, 'BUSY');
  const repaired = repairFolder(folder);
  await sleep(100);
  end();
  const { sound, actions } = await repaired;
  t.true(sound);
  t.deepEqual(actions, []);
  t.true(before.equals(readFileSync(indexOf(folder))));
});

test('a dry run with an index.json that cannot be read names the cuts, too', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  const [layer = ''] = (await loadFixture('max-gzip')).graph.descriptors.keys();
  rmSync(blobPath(folder, layer));
  writeFileSync(indexOf(folder), readFileSync(indexOf(folder)).subarray(0, 50));
  const dry = await repairFolder(folder, { dryRun: true });
  t.false(dry.sound);
  t.is(readFileSync(indexOf(folder)).length, 50);
  t.false(existsSync(keptOf(folder)));
  const real = await repairFolder(folder);
  t.deepEqual(dry.actions, real.actions);
  t.deepEqual(
    real.actions.map(({ type }) => type),
    ['rebuilt', 'cut'],
  );
  t.true(real.sound);
});

test('an empty folder in the place of index.json goes; a link and a folder with something in it stay', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  const elsewhere = join(folder, 'elsewhere');
  writeFileSync(elsewhere, readFileSync(indexOf(folder)));
  rmSync(indexOf(folder));
  symlinkSync('elsewhere', indexOf(folder));
  t.like(await t.throwsAsync(repairFolder(folder), { instanceOf: CacheError }), { code: 'CORRUPT' });
  rmSync(indexOf(folder));
  mkdirSync(join(indexOf(folder), 'something'), { recursive: true });
  t.like(await t.throwsAsync(repairFolder(folder), { instanceOf: CacheError }), { code: 'FAILED' });
  rmSync(join(indexOf(folder), 'something'), { recursive: true });
  const { sound, actions } = await repairFolder(folder);
  t.true(sound);
  t.like(actions, [{ type: 'rebuilt', entries: 1 }]);
  t.deepEqual(readFileSync(elsewhere, 'utf8').length > 0, true);
});

test('what a repair that was killed has left is named, stays in a sound folder, and goes with the next one', async (t) => {
  const folder = folderOf(t, 'max-gzip');
  writeFileSync(keptOf(folder), '{}');
  const { sound, findings } = await verifyFolder(folder);
  t.true(sound);
  t.like(findings, [{ severity: 'note', file: keptOf(folder), repair: `rm ${keptOf(folder)}` }]);
  t.deepEqual((await repairFolder(folder)).actions, []);
  t.is(readFileSync(keptOf(folder), 'utf8'), '{}');
  rmSync(join(folder, 'oci-layout'));
  t.true((await repairFolder(folder)).sound);
  t.false(existsSync(keptOf(folder)));
});

test('a tag that names a manifest of another folder, as after several exports, gets the one that is there', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('max-gzip', folder);
  const path = join(folder, 'index.json');
  const before = readFileSync(path, 'utf8');
  const digest = /sha256:[0-9a-f]{64}/.exec(before)?.[0] ?? '';
  writeFileSync(path, before.replace(digest, `sha256:${'0'.repeat(64)}`));
  const found = await verifyFolder(folder);
  t.like(found.findings[0], { kind: 'missing', effect: 'import-refused', tags: ['latest'] });
  t.regex(found.findings[0]?.hint ?? '', /several exports/);
  const { actions, sound } = await repairFolder(folder);
  t.true(sound);
  t.like(actions, { length: 1, 0: { type: 'renamed', tag: 'latest', to: digest } });
  t.is(readFileSync(path, 'utf8'), before);
});
