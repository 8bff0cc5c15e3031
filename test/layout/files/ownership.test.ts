import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { collectGarbage } from '../../../src/operations/gc.js';
import { bkcache, MAIN } from '../../support/command.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { blobPath, entriesOf, folderOf, tagsOf } from '../../support/folders.js';
import { refusing } from '../../support/refusing.js';

const NOBODY = 65_534;
const [ALICE, BOB, TEAM] = [20_001, 20_002, 20_100];

const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8);
const ownersOf = (path: string) => {
  const { uid, gid } = lstatSync(path);
  return `${uid}:${gid}`;
};
const everythingIn = (folder: string) => ['.', ...readdirSync(folder, { recursive: true, encoding: 'utf8' })];
const copyTo = (folder: string, tag: string, source = 'min-zstd-index') => [
  'copy',
  '--import-cache',
  importOf(source),
  '--export-cache',
  `type=local,dest=${folder},tag=${tag}`,
];

/** Runs the command with a umask, and as another user where one is named. */
function run(args: readonly string[], { umask = '022', as = [] as string[] } = {}) {
  const command = ['sh', '-c', `umask ${umask}; exec "$@"`, 'sh', process.execPath, MAIN, ...args];
  const [file = '', ...rest] = as.length > 0 ? ['setpriv', ...as, ...command] : command;
  const { status, stderr } = spawnSync(file, rest, { encoding: 'utf8' });
  return { status, stderr };
}

/** Whether other users can be played here: that takes root, setpriv(1), and a project that others can read. */
function canPlay(t: ExecutionContext, user: readonly string[]): boolean {
  if (process.getuid?.() === 0 && run(['--version'], { as: [...user] }).status === 0) return true;
  t.pass('other users cannot be played here');
  return false;
}

const member = (uid: number) => [`--reuid=${uid}`, `--regid=${uid}`, `--groups=${TEAM}`, '--inh-caps=-all'];

/** A folder of a group: its members may write to it, and new files belong to the group. */
function teamFolder(t: ExecutionContext): string {
  const folder = folderOf(t);
  for (let above = join(folder, '..'); above !== '/'; above = join(above, '..'))
    chmodSync(above, statSync(above).mode | 0o055);
  for (const path of everythingIn(folder)) {
    chownSync(join(folder, path), ALICE, TEAM);
    if (lstatSync(join(folder, path)).isDirectory()) chmodSync(join(folder, path), 0o2775);
  }
  chmodSync(join(folder, 'index.json'), 0o664);
  return folder;
}

test('index.json keeps its mode, whatever the umask is', (t) => {
  for (const [mode, umask] of [
    [0o664, '022'],
    [0o600, '022'],
    [0o644, '077'],
  ] as const) {
    const folder = folderOf(t);
    chmodSync(join(folder, 'index.json'), mode);
    t.is(run(copyTo(folder, 'new'), { umask }).status, 0);
    t.deepEqual(tagsOf(folder), ['latest', 'new']);
    t.is(modeOf(join(folder, 'index.json')), mode.toString(8));
  }
});

test('new files, blobs and folders heed the umask, as those of BuildKit do', (t) => {
  for (const umask of ['022', '027', '077']) {
    const folder = join(temporary(t), 'cache');
    // A conversion: what is made on the way is no other than what is copied.
    const exported = `type=local,dest=${folder},compression=zstd,force-compression=true`;
    const args = ['copy', '--import-cache', importOf('max-gzip'), '--export-cache', exported];
    t.is(run(args, { umask }).status, 0);
    const expected = (mode: number) => (mode & ~Number.parseInt(umask, 8)).toString(8);
    for (const path of everythingIn(folder)) {
      const isFolder = lstatSync(join(folder, path)).isDirectory();
      const mode = path.startsWith('blobs/sha256/') ? 0o444 : 0o666;
      t.is(modeOf(join(folder, path)), expected(isFolder ? 0o777 : mode), path);
    }
  }
});

test('root leaves all that it makes in a folder to the owner of the folder', async (t) => {
  if (process.getuid?.() !== 0) {
    t.pass('only root can');
    return;
  }
  const folder = temporary(t);
  chownSync(folder, NOBODY, NOBODY);
  t.is(run(copyTo(folder, 'a'), { umask: '077' }).status, 0);
  t.is(run(copyTo(folder, 'b,compression=gzip,force-compression=true'), { umask: '077' }).status, 0);
  // What a damaged blob leaves in .bkcache, and what gc does.
  const [entry] = entriesOf(folder);
  renameSync(blobPath(folder, entry?.digest ?? ''), join(folder, 'blobs', 'sha256', 'f'.repeat(64)));
  t.is(run(['verify', '--deep', folder]).status, 4);
  await t.throwsAsync(collectGarbage(folder));
  for (const path of everythingIn(folder)) {
    if (!path.includes('.lock')) t.is(ownersOf(join(folder, path)), `${NOBODY}:${NOBODY}`, path);
  }
  t.true(everythingIn(folder).some((path) => path.includes('damaged')));
  t.true(existsSync(join(folder, '.bkcache', 'conversions')));
});

test('the old index that a repair keeps has the owner and mode of index.json', (t) => {
  const folder = folderOf(t, 'grown');
  chmodSync(join(folder, 'index.json'), 0o660);
  if (process.getuid?.() === 0) chownSync(join(folder, 'index.json'), NOBODY, NOBODY);
  const before = ownersOf(join(folder, 'index.json'));
  const [entry] = entriesOf(folder);
  rmSync(blobPath(folder, entry?.digest ?? ''));
  const { status, stderr } = run(['repair', folder]);
  t.not(status, 2, stderr);
  t.is(modeOf(join(folder, 'index.json')), '660');
  t.is(ownersOf(join(folder, 'index.json')), before);
});

test('members of a group can work in a folder by turns', (t) => {
  if (!canPlay(t, member(ALICE))) return;
  const folder = teamFolder(t);
  for (const [index, user] of [BOB, ALICE, BOB].entries()) {
    const { status, stderr } = run(copyTo(folder, `tag${index}`), { as: member(user) });
    t.is(status, 0, stderr);
    t.is(ownersOf(join(folder, 'index.json')), `${user}:${TEAM}`);
    t.is(modeOf(join(folder, 'index.json')), '664');
  }
  t.is(tagsOf(folder).length, 4);
});

test('the former owner of index.json can go on writing to it', (t) => {
  if (!canPlay(t, member(ALICE))) return;
  const folder = teamFolder(t);
  // As BuildKit makes it.
  chmodSync(join(folder, 'index.json'), 0o644);
  t.is(run(copyTo(folder, 'new'), { as: member(BOB) }).status, 0);
  const written = spawnSync('setpriv', [
    ...member(ALICE),
    'sh',
    '-c',
    'exec 3<>"$1"',
    'sh',
    join(folder, 'index.json'),
  ]);
  t.is(written.status, 0);
});

test('another member can write while the workspace of the first is there', (t) => {
  if (!canPlay(t, member(ALICE))) return;
  for (const mode of [0o2775, 0o777]) {
    const folder = teamFolder(t);
    for (const path of ['.', 'blobs', 'blobs/sha256']) chmodSync(join(folder, path), mode);
    t.is(run(copyTo(folder, 'a'), { as: member(ALICE), umask: '077' }).status, 0);
    // A mark keeps the workspace.
    const [entry] = entriesOf(folder);
    rmSync(blobPath(folder, entry?.digest ?? ''));
    mkdirSync(blobPath(folder, entry?.digest ?? ''));
    t.is(run(['verify', folder], { as: member(ALICE), umask: '077' }).status, 4);
    t.is(run(copyTo(folder, 'b'), { as: member(BOB), umask: '022' }).status, 0);
  }
});

// EPERM, EINVAL, ENOSYS, EOPNOTSUPP
for (const errno of [1, 22, 38, 95]) {
  test(`a filesystem that answers chmod and chown with error ${errno} is worked in all the same`, async (t) => {
    const env = refusing(t, { chmod: errno, fchmod: errno, chown: errno, fchown: errno });
    if (env === undefined) return;
    const folder = folderOf(t);
    chmodSync(join(folder, 'index.json'), 0o664);
    for (const args of [
      copyTo(folder, 'new'),
      [...copyTo(folder, 'linked'), '--hardlink'],
      ['import', 'kept', '--import-cache', importOf('max-zstd'), '--store', folder],
      ['prune', '--untag', 'new', folder],
      ['gc', '--grace', '0s', folder],
      ['verify', folder],
    ]) {
      const { code, stderr } = await bkcache(args, env);
      t.is(code, 0, `${args[0]}: ${stderr}`);
    }
    t.deepEqual(tagsOf(folder), ['latest', 'linked', 'kept']);
  });
}

test('a filesystem without syncs is worked in all the same', async (t) => {
  for (const calls of [
    { fsync: 22, fdatasync: 22, fsync_folder: 22 },
    { fsync: 38, fdatasync: 38, fsync_folder: 38 },
    { fsync_folder: 1 },
  ]) {
    const env = refusing(t, calls);
    if (env === undefined) return;
    const { code, stderr } = await bkcache(copyTo(folderOf(t), 'new'), env);
    t.is(code, 0, stderr);
  }
});

test('a disk that fails is no filesystem without modes or syncs', async (t) => {
  for (const call of ['fchmod', 'fsync']) {
    const env = refusing(t, { [call]: 5 });
    if (env === undefined) return;
    const folder = folderOf(t);
    const { code, stderr } = await bkcache(copyTo(folder, 'new'), env);
    t.is(code, 1, call);
    t.true(stderr.includes(`export: the disk fails: ${folder} (`), stderr);
    t.deepEqual(tagsOf(folder), ['latest']);
    t.false(existsSync(join(folder, '.bkcache')));
  }
});

test('a full disk and a quota that is used up are named, with the folder', async (t) => {
  for (const [errno, message] of [
    [28, /the disk is full/],
    [122, /quota of the disk is used up/],
  ] as const) {
    const env = refusing(t, { fsync: errno });
    if (env === undefined) return;
    const folder = folderOf(t);
    const { code, stderr } = await bkcache(copyTo(folder, 'new'), env);
    t.is(code, 1);
    t.regex(stderr, message);
    t.regex(stderr, /hint: make room, and run it again/);
    t.true(stderr.includes(folder));
    t.notRegex(stderr, /nothing was changed/);
  }
});
