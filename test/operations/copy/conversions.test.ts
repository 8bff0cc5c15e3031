import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { registryConversions } from '../../../src/backend/repository/conversion-memory.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { type CopyOptions, copyCache } from '../../../src/operations/copy/copy.js';
import type { Conversion } from '../../../src/layout/blobs/conversions.js';
import { tryFlock } from '../../../src/layout/lock/flock.js';
import { sha256 } from '../../../src/oci/digest.js';
import type { ProgressEvent } from '../../../src/operations/copy/progress.js';
import { bkcache } from '../../support/command.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { assertSound } from '../../support/sound.js';
import { blobPath, copyFixture, OLD } from '../../support/folders.js';

const GZIP_TO_ZSTD = ['max-gzip', 'zstd'] as const;

/** Converts a fixture into a folder. */
async function converted(
  folder: string,
  [source, encoding]: readonly [string, string],
  more: Partial<CopyOptions> = {},
) {
  const exports = [`type=local,dest=${folder},compression=${encoding},force-compression=true`];
  const layout = { durable: false };
  const { exports: results } = await copyCache({ imports: [importOf(source)], exports, layout, ...more });
  const [result] = results;
  if (result === undefined) throw new Error('there is no result');
  return { digest: result.descriptor.digest, ...result.actions, bytesRead: result.bytesRead };
}

const memory = (folder: string) => join(folder, '.bkcache', 'conversions');
const lines = (folder: string) =>
  readFileSync(memory(folder), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Conversion);
const write = (folder: string, all: readonly Conversion[]) =>
  writeFileSync(memory(folder), all.map((one) => `${JSON.stringify(one)}\n`).join(''));

for (const pair of [
  GZIP_TO_ZSTD,
  ['max-gzip', 'estargz'],
  ['max-estargz', 'zstd'],
  ['max-estargz', 'uncompressed'],
  ['max-zstd', 'gzip'],
] as const) {
  test(`what became of a layer is found again: ${pair.join(' to ')}`, async (t) => {
    const folder = join(temporary(t), 'cache');
    const first = await converted(folder, pair);
    t.true(first.converted > 0);
    const second = await converted(folder, pair);
    t.is(second.digest, first.digest);
    t.deepEqual([second.converted, second.present, second.bytesRead], [0, first.converted + first.present, 0]);
    await assertSound(t, folder);
  });
}

test('another level is another conversion', async (t) => {
  const folder = join(temporary(t), 'cache');
  const levels = await converted(folder, ['max-gzip', 'zstd,compression-level=1']);
  t.true((await converted(folder, ['max-gzip', 'zstd,compression-level=19'])).converted > 0);
  t.is((await converted(folder, ['max-gzip', 'zstd,compression-level=1'])).digest, levels.digest);
});

test('what a run that was stopped has converted is not converted again', async (t) => {
  const folder = join(temporary(t), 'cache');
  const stop = new AbortController();
  const onProgress: CopyOptions['onProgress'] = (event) => {
    if (event.type === 'layer') stop.abort(new Error('stopped'));
  };
  const kept: number[] = [];
  const options = {
    concurrency: 1,
    signal: stop.signal,
    onProgress(event: ProgressEvent) {
      if (event.type === 'kept') kept.push(event.layers);
      else onProgress?.(event);
    },
  };
  await t.throwsAsync(converted(folder, GZIP_TO_ZSTD, options), { message: 'stopped' });
  t.false(existsSync(join(folder, 'index.json')));
  const done = lines(folder).length;
  t.deepEqual(kept, [done]);
  t.true(done > 0);
  const { present, converted: rest } = await converted(folder, GZIP_TO_ZSTD);
  t.is(present, done);
  t.true(rest > 0);
});

test('a copy that fails at its end says what stays of it', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('min-gzip', folder);
  const lock = openSync(join(folder, 'index.json.lock'), 'w');
  t.true(tryFlock(lock, 'exclusive'));
  const args = ['copy', '--import-cache', importOf('max-gzip'), '--export-cache', `type=local,dest=${folder},tag=new`];
  const { code, stderr } = await bkcache([...args, '--lock-timeout', '0s']);
  closeSync(lock);
  t.is(code, 5, stderr);
  t.regex(stderr, /^kept for the next run: \d+ layers \(.* kB\) in /m);
  const { stdout } = await bkcache(args);
  t.regex(stdout, /0 copied, 0 converted, \d+ already there/);
});

test('the memory of a folder goes where the folder goes, and nothing is written into a source', async (t) => {
  const source = join(temporary(t), 'source');
  copyFixture('max-gzip', source);
  const before = readdirSync(source);
  const exports = [`type=local,dest=${join(temporary(t), 'cache')},compression=zstd,force-compression=true`];
  await copyCache({ imports: [`type=local,src=${source}`], exports });
  t.deepEqual(readdirSync(source), before);
});

/** Ways to spoil what was written down; what comes out must be what came out before. */
const SPOILERS: Readonly<Record<string, (folder: string, t: ExecutionContext) => void>> = {
  'layers have changed places'(folder) {
    const all = lines(folder);
    write(
      folder,
      all.map((one, index) => {
        const { to, diffID } = all[(index + 1) % all.length] ?? one;
        return { ...one, to, diffID };
      }),
    );
  },
  'layers have changed places, and keep their diffIDs'(folder) {
    const all = lines(folder);
    write(
      folder,
      all.map((one, index) => ({ ...one, to: (all[(index + 1) % all.length] ?? one).to })),
    );
  },
  'all are said to be one blob, which is no layer'(folder) {
    const { manifests } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
      manifests: { digest: Conversion['from']; size: number }[];
    };
    const [{ digest, size } = { digest: sha256(''), size: 0 }] = manifests;
    write(
      folder,
      lines(folder).map((one) => ({ ...one, to: { digest, size } })),
    );
  },
  'blobs are gone'(folder) {
    for (const { to } of lines(folder)) rmSync(blobPath(folder, to.digest));
  },
  'blobs are damaged, and have their size'(folder) {
    for (const { to } of lines(folder)) {
      chmodSync(blobPath(folder, to.digest), 0o644);
      writeFileSync(blobPath(folder, to.digest), Buffer.alloc(to.size, 1));
    }
  },
  'sizes are wrong': (folder) =>
    write(
      folder,
      lines(folder).map((one) => ({ ...one, to: { ...one.to, size: one.to.size + 1 } })),
    ),
  'the file is cut short': (folder) => writeFileSync(memory(folder), readFileSync(memory(folder)).subarray(0, -200)),
  'the file is no text': (folder) => writeFileSync(memory(folder), Buffer.alloc(100_000, 0xff)),
  'the file is JSON of another kind': (folder) => writeFileSync(memory(folder), '[]\n{}\nnull\n{"from":1}\n'),
  'a folder stands in its place'(folder) {
    rmSync(memory(folder));
    mkdirSync(memory(folder));
  },
  'a link to a device stands in its place'(folder) {
    rmSync(memory(folder));
    symlinkSync('/dev/zero', memory(folder));
  },
  'a pipe stands in its place'(folder, t) {
    rmSync(memory(folder));
    t.is(spawnSync('mkfifo', [memory(folder)]).status, 0);
  },
};

for (const [name, spoil] of Object.entries(SPOILERS)) {
  test(`a memory that is wrong changes nothing: ${name}`, async (t) => {
    const folder = join(temporary(t), 'cache');
    const { digest } = await converted(folder, GZIP_TO_ZSTD);
    spoil(folder, t);
    t.is((await converted(folder, GZIP_TO_ZSTD)).digest, digest);
    await assertSound(t, folder);
  });
}

test('a collection forgets what it removes', async (t) => {
  const folder = join(temporary(t), 'cache');
  await converted(folder, GZIP_TO_ZSTD);
  const before = lines(folder);
  await collectGarbage(folder, { grace: 0 });
  t.deepEqual(lines(folder), before);
  appendFileSync(memory(folder), 'cut short');
  writeFileSync(join(folder, 'index.json'), '{"schemaVersion":2,"manifests":[]}');
  for (const name of readdirSync(join(folder, 'blobs', 'sha256'))) {
    utimesSync(join(folder, 'blobs', 'sha256', name), OLD, OLD);
  }
  await collectGarbage(folder);
  t.deepEqual(readdirSync(join(folder, 'blobs', 'sha256')), []);
  t.false(existsSync(join(folder, '.bkcache')));
});

test('the memory stays below 4 MiB', async (t) => {
  const folder = join(temporary(t), 'cache');
  await converted(folder, GZIP_TO_ZSTD);
  const [one] = lines(folder);
  if (one === undefined) throw new Error('nothing was written down');
  const many = Array.from({ length: 20_000 }, (_, index) => ({ ...one, from: sha256(`${index}`) }));
  write(folder, many);
  t.true(statSync(memory(folder)).size > 4 * 1024 * 1024);
  await converted(folder, ['max-gzip', 'zstd,compression-level=1']);
  t.true(statSync(memory(folder)).size < 3 * 1024 * 1024);
  const left = new Set(lines(folder).map(({ from }) => from));
  t.true(left.has(sha256('19999')));
  t.false(left.has(sha256('0')));
});

const conversion: Conversion = {
  from: sha256('from'),
  encoder: 'zstd-3/1',
  to: { digest: sha256('to'), size: 2 },
  diffID: sha256('tar'),
};
const source = {
  blob: conversion.from,
  limits: { maxSize: undefined },
  tar: conversion.diffID,
  readTar: () => Promise.resolve(conversion.diffID),
};

test('what layers became in a registry is written down for the user alone', async (t) => {
  const home = temporary(t);
  const path = join(home, 'bkcache-conversions');
  let has = true;
  const open = () =>
    registryConversions(() => Promise.resolve(new Set(has ? [conversion.to.digest] : [])), { XDG_CACHE_HOME: home });
  await open()?.add(conversion);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.deepEqual(await open()?.find(source, conversion.encoder), conversion);
  t.is(await open()?.find(source, 'zstd-4/1'), undefined);
  t.is(await open()?.find({ ...source, tar: sha256('other') }, conversion.encoder), undefined);
  has = false;
  t.is(await open()?.find(source, conversion.encoder), undefined);
  has = true;
  chmodSync(path, 0o666);
  t.is(await open()?.find(source, conversion.encoder), undefined);
});
