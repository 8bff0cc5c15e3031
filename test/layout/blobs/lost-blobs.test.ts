import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { prune } from '../../../src/operations/prune/prune.js';
import { verifyCache, verifyFolder } from '../../../src/operations/verify/verify.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { copyFixture } from '../../support/folders.js';

/** Deletes what index.json does not reach, as an export of BuildKit does with reset=true (client/solve.go). */
function reset(folder: string): number {
  const pathOf = (name: string) => join(folder, 'blobs', 'sha256', name);
  const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as { manifests?: { digest: string }[] };
  const reached = new Set<string>();
  for (const { digest } of read(join(folder, 'index.json')).manifests ?? []) {
    const text = readFileSync(pathOf(digest.slice('sha256:'.length)), 'utf8');
    for (const [found] of `${digest} ${text}`.matchAll(/(?<=sha256:)[0-9a-f]{64}/g)) reached.add(found);
  }
  const others = readdirSync(join(folder, 'blobs', 'sha256')).filter((name) => !reached.has(name));
  for (const name of others) rmSync(pathOf(name));
  return others.length;
}

const copyTo = (folder: string, onLayer: () => void) =>
  copyCache({
    imports: [importOf('max-zstd')],
    exports: [`type=local,dest=${folder},tag=new`],
    concurrency: 1,
    onProgress: ({ type }) => {
      if (type === 'layer') onLayer();
    },
  });

test('what was deleted while a copy ran is written again: new blobs, and those that were found', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('grown', folder);
  await copyTo(folder, () => undefined);
  // They are there, and nothing refers to them.
  await prune(folder, { untag: ['new'], grace: 1e9 });
  for (let round = 0; round < 2; round++) {
    let deleted = 0;
    await copyTo(folder, () => (deleted += reset(folder)));
    t.true(deleted > 0);
    t.true((await verifyFolder(folder)).sound);
    rmSync(join(folder, 'index.json'));
    copyFixture('grown', folder);
  }
});

test('what is converted is converted again', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('grown', folder);
  let deleted = 0;
  await copyCache({
    imports: [importOf('max-gzip')],
    exports: [`type=local,dest=${folder},tag=new,compression=zstd,force-compression=true`],
    concurrency: 1,
    onProgress: ({ type }) => {
      if (type === 'layer') deleted += reset(folder);
    },
  });
  t.true(deleted > 0);
  t.true((await verifyFolder(folder, { deep: true })).sound);
});

test('blobs that are deleted each time are an error, and the tag is what it was', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('grown', folder);
  const before = readFileSync(join(folder, 'index.json'), 'utf8');
  const deleting = setInterval(() => reset(folder), 0);
  try {
    const error = await t.throwsAsync(
      copyTo(folder, () => undefined),
      { instanceOf: CacheError },
    );
    t.is(error.code, 'FAILED');
    t.regex(error.message, /somebody deleted blobs in .* relied on: sha256:/);
    t.regex(error.hint ?? '', /reset=true/);
  } finally {
    clearInterval(deleting);
  }
  t.is(readFileSync(join(folder, 'index.json'), 'utf8'), before);
});

test('blobs/ that is deleted as a whole is made again, with all that the copy needs', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('grown', folder);
  let layers = 0;
  await copyTo(folder, () => {
    layers++;
    if (layers === 3) rmSync(join(folder, 'blobs'), { recursive: true });
  });
  t.true((await verifyCache(`type=local,src=${folder},tag=new`, { deep: true })).sound);
});
