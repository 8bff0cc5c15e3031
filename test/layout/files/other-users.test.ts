import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { importOf, temporary } from '../../support/fixtures.js';
import { copyFixture, folderOf } from '../../support/folders.js';
import { MAIN } from '../../support/command.js';

/** Runs the command as somebody to whom the modes of files mean something, which they do not to root. */
function asUser(...args: readonly string[]) {
  const command = [process.execPath, MAIN, ...args];
  const isRoot = process.getuid?.() === 0;
  const [file = '', ...rest] = isRoot ? ['setpriv', '--inh-caps=-all', '--bounding-set=-all', ...command] : command;
  const { status, stderr } = spawnSync(file, rest, { encoding: 'utf8' });
  return { status, stderr };
}

/** Root may find this project where nobody else may look, or have no setpriv(1). */
function isPossible(t: ExecutionContext): boolean {
  if (asUser('--version').status === 0) return true;
  t.pass('nobody but root can run the command here');
  return false;
}

test('the lock of another user is waited for by writers, and said to be one; readers need none', (t) => {
  if (!isPossible(t)) return;
  const folder = folderOf(t);
  const lock = join(folder, 'index.json.lock');
  writeFileSync(lock, '', { mode: 0 });
  const exported = `type=local,dest=${folder},tag=other`;
  const args = ['copy', '--import-cache', importOf('min-gzip'), '--export-cache', exported];
  const { status, stderr } = asUser(...args, '--lock-timeout', '0.1s');
  t.is(status, 5, stderr);
  t.regex(stderr, /is a lock of user \d+\n {2}hint: .*delete/);
  for (const verb of ['resolve', 'list', 'verify']) t.is(asUser(verb, folder, '--lock-timeout', '0.1s').status, 0);
  t.true(existsSync(lock));
});

test('a folder in which nothing may be written can be read and verified, whatever has been written down of it', (t) => {
  if (!isPossible(t)) return;
  const folder = folderOf(t);
  const digest = 'sha256:4dfe84517fb9fb788804f1542325a8bf93d1ee5b29d3a1200b8fcf6cd9bec0fb';
  mkdirSync(join(folder, '.bkcache'));
  writeFileSync(join(folder, '.bkcache', `damaged.${digest}`), '');
  for (const path of [join(folder, '.bkcache'), folder]) chmodSync(path, 0o555);
  try {
    const { status, stderr } = asUser('verify', folder);
    t.is(status, 0, stderr);
    t.is(asUser('resolve', folder).status, 0);
  } finally {
    for (const path of [folder, join(folder, '.bkcache')]) chmodSync(path, 0o755);
  }
});

test('a blob that this user may not read is a finding, is fetched from elsewhere, and costs its cache nothing', (t) => {
  if (!isPossible(t)) return;
  const folder = folderOf(t);
  const sound = importOf('max-gzip');
  // A layer, and the manifest.
  for (const name of [
    '4dfe84517fb9fb788804f1542325a8bf93d1ee5b29d3a1200b8fcf6cd9bec0fb',
    '75a5e96d1b4fed5d08e1d3c1cec2d3006fd4e23a138e23d4e5a95288a41a0ed4',
  ]) {
    const path = join(folder, 'blobs', 'sha256', name);
    const index = readFileSync(join(folder, 'index.json'));
    chmodSync(path, 0);
    t.is(asUser('verify', '--quiet', folder).status, 4);
    const { status, stderr } = asUser('repair', folder);
    t.is(status, 4, stderr);
    t.deepEqual(readFileSync(join(folder, 'index.json')), index);
    t.true(existsSync(path));
    t.is(asUser('repair', '--from', sound, folder).status, 0);
    t.is(asUser('verify', '--quiet', folder).status, 0);
    t.deepEqual(readFileSync(join(folder, 'index.json')), index);
  }
});

test('a folder that this user may not look into is left out of the flags of a build, and refused by other verbs', (t) => {
  if (!isPossible(t)) return;
  const closed = join(temporary(t), 'closed');
  const folder = join(closed, 'cache');
  mkdirSync(folder, { recursive: true });
  copyFixture('max-gzip', folder);
  chmodSync(closed, 0);
  try {
    const { status, stderr } = asUser('import-args', folder, importOf('max-gzip'));
    t.is(status, 0, stderr);
    t.true(stderr.startsWith(`bkcache: left out ${folder}: EACCES`), stderr);
    t.is(asUser('resolve', folder).status, 1);
    t.is(asUser('copy', '--import-cache', importOf('max-gzip'), '--export-cache', join(closed, 'other')).status, 1);
  } finally {
    chmodSync(closed, 0o755);
  }
});
