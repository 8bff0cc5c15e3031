import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { collectGarbage } from '../../src/operations/gc.js';
import { bkcache } from '../support/command.js';
import { importOf, temporary } from '../support/fixtures.js';
import { age, copyFixture, blobPath, put } from '../support/folders.js';

/** A folder as a first copy leaves it that was killed: blobs, and no index.json. */
function cutShort(t: ExecutionContext): { folder: string; blob: string } {
  const folder = join(temporary(t), 'cache');
  mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const { digest } = put(folder, 'a layer');
  return { folder, blob: blobPath(folder, digest) };
}

test('verbs work on what a first copy left that was cut short', async (t) => {
  const { folder, blob } = cutShort(t);
  const verified = await bkcache(['verify', folder]);
  t.is(verified.code, 0, verified.stdout);
  t.regex(verified.stdout, /note: there is no index\.json: a first export was cut short/);
  const repaired = await bkcache(['repair', folder]);
  t.is(repaired.code, 0);
  t.regex(repaired.stdout, /sound; nothing was changed/);
  const listed = await bkcache(['list', '--json', folder]);
  t.deepEqual([listed.code, listed.stdout], [0, '[]\n']);
  t.is((await bkcache(['prune', '--max-age', '1d', folder])).code, 0);
  t.is((await bkcache(['resolve', folder])).code, 3);
  t.is((await bkcache(['gc', folder])).code, 0);
  t.true(existsSync(blob));
  age(folder, 1);
  t.is((await bkcache(['gc', '--dry-run', folder])).code, 0);
  t.true(existsSync(blob));
  const { code, stdout } = await bkcache(['gc', folder]);
  t.is(code, 0);
  t.regex(stdout, /freed: 7 B \(1 blob\)/);
  t.false(existsSync(blob));
  t.false(existsSync(join(folder, 'index.json')));
  // And the next copy into it is as any other.
  t.is((await bkcache(['copy', '--import-cache', importOf('max-gzip'), '--export-cache', folder])).code, 0);
});

test('what an index.json that was lost may have listed is kept, and found again', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('max-gzip', folder);
  const { digest } = put(folder, 'of no cache');
  renameSync(join(folder, 'index.json'), join(folder, '..', 'index.json'));
  age(folder, 1);
  const before = readdirSync(join(folder, 'blobs', 'sha256'));
  t.is((await bkcache(['verify', folder])).code, 4);
  const { removed, live } = await collectGarbage(folder);
  t.is(removed.count, 1);
  t.is(live.count, before.length - 1);
  t.false(existsSync(blobPath(folder, digest)));
  t.is((await bkcache(['repair', folder])).code, 0);
  t.is((await bkcache(['resolve', folder])).code, 0);
});

test('a folder that is no layout at all is none for every verb', async (t) => {
  const folder = temporary(t);
  for (const verb of [['list'], ['gc'], ['verify'], ['repair'], ['prune', '--max-age', '1d']])
    t.is((await bkcache([...verb, folder])).code, 3, verb[0]);
  t.deepEqual(readdirSync(folder), []);
});
