import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { collectGarbage } from '../../../src/operations/gc.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { tryFlock } from '../../../src/layout/lock/flock.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { openLayout } from '../../../src/layout/layout.js';
import { emptyRemains, leftovers } from '../../../src/layout/gc/leftovers.js';
import { LeasedBlobs } from '../../../src/layout/blobs/leased-blobs.js';
import { digestOfName, portableName } from '../../../src/layout/files/portable-name.js';
import { type Digest, sha256 } from '../../../src/oci/digest.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { blobPath, copyFixture, OLD, oldFolderOf } from '../../support/folders.js';

const ID = '01234567-0123-4123-8123-0123456789ab';

function grown(t: ExecutionContext): string {
  const folder = oldFolderOf(t, 'grown');
  mkdirSync(join(folder, '.bkcache'));
  return folder;
}

function left(folder: string): string[] {
  try {
    return readdirSync(join(folder, '.bkcache'));
  } catch {
    return [];
  }
}

test('the marker of a process that is about to lock it stays; one that was left behind goes', async (t) => {
  const folder = grown(t);
  const marker = join(folder, '.bkcache', `new.${ID}`);
  writeFileSync(marker, '');
  await collectGarbage(folder, { grace: 0 });
  t.deepEqual(left(folder), [`new.${ID}`]);
  utimesSync(marker, OLD, OLD);
  const process = openSync(marker, 'a');
  t.true(tryFlock(process, 'exclusive'));
  // It has just come to it.
  const found = await leftovers(folder, 0);
  t.is(found.length, 0);
  closeSync(process);
  for (const { remove } of await leftovers(folder, 0)) await remove();
  t.deepEqual(left(folder), []);
});

test('a process that was dead when it was looked at is looked at again before anything of it goes', async (t) => {
  const folder = grown(t);
  const marker = join(folder, '.bkcache', ID);
  writeFileSync(marker, '');
  writeFileSync(`${marker}.1`, 'half a blob');
  const found = await leftovers(folder, 0);
  t.is(found.length, 1);
  const process = openSync(marker, 'a');
  t.true(tryFlock(process, 'exclusive'));
  for (const { remove } of found) await remove();
  t.deepEqual(left(folder), [ID, `${ID}.1`]);
  closeSync(process);
  for (const { remove } of found) await remove();
  t.deepEqual(left(folder), []);
});

test('a marker that somebody took away before it was locked is made again', async (t) => {
  const folder = grown(t);
  const taker = setInterval(() => {
    for (const name of left(folder))
      if (name.startsWith('new.')) rmSync(join(folder, '.bkcache', name), { force: true });
  }, 0);
  for (let round = 0; round < 20; round++) {
    const layout = await openLayout(folder);
    const blob = { digest: sha256('x'), size: 1 };
    t.false(await new LeasedBlobs(layout).has(blob));
    const [marker = '', ...others] = left(folder);
    t.deepEqual(others, []);
    t.is(readFileSync(join(folder, '.bkcache', marker), 'utf8'), `${blob.digest}\n`);
    await layout[Symbol.asyncDispose]();
  }
  clearInterval(taker);
});

test('what was set aside while the clock was ahead goes without a grace period, and stays with one', async (t) => {
  const folder = grown(t);
  const aside = join(folder, '.bkcache', `removed-${Date.now() + 365 * 86_400_000}`);
  mkdirSync(aside);
  writeFileSync(join(aside, portableName(sha256('x'))), 'x');
  await collectGarbage(folder);
  t.true(existsSync(aside));
  t.is((await collectGarbage(folder, { grace: 0 })).removed.count, 1);
  t.deepEqual(left(folder), []);
});

test('empty folders and marks of damage without a blob go; the mark of a blob that is there stays', async (t) => {
  const folder = grown(t);
  const index = readFileSync(join(folder, 'index.json'), 'utf8');
  const kept = readdirSync(join(folder, 'blobs', 'sha256')).find((name) => index.includes(name)) ?? '';
  const digest = `sha256:${kept}` as Digest;
  for (const name of ['removed-1700000000000', 'damaged-1700000000001']) mkdirSync(join(folder, '.bkcache', name));
  for (const mark of [`damaged.${sha256('gone')}`, `damaged.${portableName(sha256('too'))}`, `damaged.${digest}`])
    writeFileSync(join(folder, '.bkcache', mark), '');
  t.is((await emptyRemains(folder)).length, 4);
  await collectGarbage(folder, { dryRun: true });
  t.is(left(folder).length, 5);
  await collectGarbage(folder);
  t.deepEqual(left(folder), [`damaged.${digest}`]);
  // Who needs it looks at its bytes, and verify takes the mark of a sound one away.
  await verifyFolder(folder);
  t.deepEqual(left(folder), []);
});

test('names are portable to FAT, differ where case does not matter, and those of older releases are read', async (t) => {
  const digests = [sha256('x'), `sha512:${'ab'.repeat(64)}`, 'multihash+base58:QmXa', 'multihash+base58:Qmxa'];
  const names = digests.map((digest) => portableName(digest as Digest));
  t.is(new Set(names.map((name) => name.toLowerCase())).size, digests.length);
  for (const name of names) t.regex(name, /^[^"*/:<>?\\|A-Z]+[^. ]$/);
  t.deepEqual(names.map(digestOfName), digests as Digest[]);
  t.deepEqual(digests.map(digestOfName), digests as Digest[]);
  t.is(digestOfName('elsewhere'), undefined);

  const folder = grown(t);
  const { graph } = await loadFixture('grown', 'main');
  const [first = '', second = ''] = graph.descriptors.keys();
  const aside = join(folder, '.bkcache', 'removed-1700000000000');
  mkdirSync(aside);
  const pathOf = (digest: string) => blobPath(folder, digest);
  renameSync(pathOf(first), join(aside, first));
  renameSync(pathOf(second), join(aside, portableName(second as Digest)));
  t.is((await collectGarbage(folder)).putBack.count, 2);
  t.true((await verifyFolder(folder)).sound);
  // What gc sets aside meanwhile has such a name.
  writeFileSync(pathOf(sha256('young')), 'young');
  writeFileSync(pathOf(sha256('old')), 'old');
  utimesSync(pathOf(sha256('old')), OLD, OLD);
  await collectGarbage(folder);
  const all = readdirSync(join(folder, '.bkcache'), { recursive: true, encoding: 'utf8' });
  t.true(all.some((name) => name.endsWith(portableName(sha256('old')))));
  t.false(all.some((name) => name.includes(':')));
});

for (const [what, remove] of [
  ['the folder', (folder: string) => rmSync(folder, { recursive: true })],
  ['.bkcache', (folder: string) => rmSync(join(folder, '.bkcache'), { recursive: true })],
] as const) {
  test(`a copy into a folder fails when somebody deletes ${what} meanwhile`, async (t) => {
    const folder = join(temporary(t), 'cache');
    copyFixture('grown', folder);
    let removed = false;
    const copying = copyCache({
      imports: [importOf('max-zstd')],
      exports: [`type=local,dest=${folder},tag=new`],
      concurrency: 1,
      onProgress({ type }) {
        if (type !== 'layer' || removed) return;
        removed = true;
        remove(folder);
      },
    });
    const error = await t.throwsAsync(copying, { instanceOf: CacheError });
    t.regex(error.message, /somebody deleted files in .*cache while it was written to/);
  });
}

test('a writer that is told to has no marker of a dead process for its own', async (t) => {
  const folder = grown(t);
  writeFileSync(join(folder, '.bkcache', ID), `${sha256('x')}\n`);
  const layout = await createLayout(folder);
  await new LeasedBlobs(layout).has({ digest: sha256('y'), size: 1 });
  await collectGarbage(folder);
  t.is(left(folder).length, 1);
  t.not(left(folder)[0], ID);
  await layout[Symbol.asyncDispose]();
});
