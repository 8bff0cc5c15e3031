import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import * as library from '../src/index.js';
import { CacheError } from '../src/errors.js';
import { age, copyFixture, grown } from './support/folders.js';
import { temporary } from './support/fixtures.js';

type Call = (...given: readonly unknown[]) => unknown;

/** An exported function as a caller in JavaScript sees it. */
const LIBRARY: Readonly<Record<string, unknown>> = { ...library };
const called = (name: keyof typeof library): Call => LIBRARY[name] as Call;

async function refusal(t: ExecutionContext, name: keyof typeof library, ...given: readonly unknown[]) {
  const error = await t.throwsAsync(async () => called(name)(...given), { instanceOf: CacheError });
  t.is(error.code, 'USAGE', error.message);
  return error;
}

/** What every function is called with; its options come last. */
const FOLDER_CALLS = ['prune', 'collectGarbage', 'repairFolder', 'verifyFolder'] as const;
const GIVEN = (folder: string): readonly (readonly [keyof typeof library, ...unknown[]])[] => [
  ...FOLDER_CALLS.map((name) => [name, folder] as const),
  ['verifyCache', folder],
  ['inspectCache', folder],
  ['listCaches', folder],
  ['resolveCache', folder],
  ['importArguments', [folder], 'buildx', () => undefined],
  ['importCache', folder, 'name', [folder]],
  ['exportCache', folder, 'name', [folder]],
  ['removeCache', folder, 'latest'],
];

/** All that a folder consists of, with times. */
function snapshot(folder: string): string {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted();
  return JSON.stringify([names, readFileSync(join(folder, 'index.json'), 'utf8')]);
}

test('options that are wrong are refused before anything is touched, by every function', async (t) => {
  const folder = grown(t);
  age(folder, 10);
  const before = snapshot(folder);
  const wrong: Readonly<Record<string, readonly unknown[]>> = {
    dryRun: ['true', 1, null],
    grace: [NaN, -1, 1.5, Infinity, '1h', 1n, new Date()],
    maxAge: [NaN, -1, 0.5, -Infinity, '30d'],
    maxSize: [NaN, -1, 1.5, Infinity, '10GB'],
    keepLast: [NaN, -1, 1.5, Infinity, '2'],
    keep: ['main', [1], [''], {}],
    untag: ['*', [undefined]],
    from: ['./cache', [null]],
    fitImportLimit: ['yes'],
    concurrency: [0, NaN, 1.5, Infinity, -1, 257, '4'],
    maxLayerSize: [NaN, -1, 1.5, Infinity, '1GB'],
    deep: ['true', 0],
    hardlink: ['false'],
    allowOversize: [1],
    sample: [{ part: 0, of: 7 }, { part: 8, of: 7 }, { share: NaN }, { share: 2 }, { bytes: -1 }, {}, '1/7', { of: 1 }],
    signal: [{}, 'now', new AbortController()],
    onProgress: [{}, 'log'],
    registry: ['x', { ca: 1 }, { user: 'x' }, { password: 5 }],
    layout: [{ lockTimeout: NaN }, { lockTimeout: -1 }, { lockTimeout: 0.5 }, { durable: 'no' }, { fsync: false }, 5],
    dryrun: [true],
    constructor: [true],
  };
  for (const [name, ...given] of GIVEN(folder)) {
    for (const [option, values] of Object.entries(wrong)) {
      for (const value of values) {
        const { message } = await refusal(t, name, ...given, { [option]: value });
        t.true(message.includes(option), message);
      }
    }
    await refusal(t, name, ...given, null);
    await refusal(t, name, ...given, 'options');
    for (const index of given.keys()) {
      for (const other of [undefined, null, 5, '', 'a\0b', {}, [5]])
        await refusal(t, name, ...given.with(index, other));
    }
  }
  t.is(snapshot(folder), before);
});

test('copyCache takes lists of texts, and nothing that it does not know', async (t) => {
  const good = { imports: ['./a'], exports: ['./b'] };
  for (const options of [
    undefined,
    {},
    { imports: ['./a'] },
    { ...good, imports: './a' },
    { ...good, exports: [5] },
    { ...good, concurrency: NaN },
    { ...good, hardLink: true },
  ])
    await refusal(t, 'copyCache', options);
  t.regex((await refusal(t, 'copyCache', { imports: ['./a'] })).message, /copyCache needs exports/);
  t.is((await refusal(t, 'copyCache', { ...good, hardLink: true })).hint, 'did you mean hardlink?');
  t.is((await refusal(t, 'prune', './a', { layout: { lockTimout: 1 } })).hint, 'did you mean lockTimeout?');
  // What it says of a text may be a secret.
  t.notRegex((await refusal(t, 'copyCache', { ...good, registry: { password: 'secret\0' } })).message, /secret/);
});

test('functions that only read texts refuse what is none', async (t) => {
  for (const name of ['parseImport', 'parseExport'] as const)
    for (const value of [undefined, 5, null, ['type=local'], {}]) await refusal(t, name, value);
  await refusal(t, 'formatOptions', { type: 'local' });
  await refusal(t, 'formatOptions', { type: 'local', attributes: { src: 5 } });
  await refusal(t, 'storePath', '');
});

test('options that are undefined count as left out', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('max-gzip', folder);
  const { signal } = new AbortController();
  await called('prune')(folder, { maxAge: undefined, keep: undefined, layout: { lockTimeout: undefined }, signal });
  await called('verifyFolder')(folder, { sample: { bytes: 0 }, concurrency: 256, registry: undefined });
  t.pass();
});

test('every function that is exported checks what it is called with', (t) => {
  const checks = readFileSync(fileURLToPath(new URL('../../src/calls.ts', import.meta.url)), 'utf8');
  for (const [name, value] of Object.entries(LIBRARY))
    if (typeof value === 'function' && name !== 'CacheError') t.regex(checks, new RegExp(`^ {2}${name}: \\{`, 'm'));
});
