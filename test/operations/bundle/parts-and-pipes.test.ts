import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  createReadStream,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { CacheError } from '../../../src/errors.js';
import { verifyFolder } from '../../../src/index.js';
import { listLayers } from '../../../src/operations/bundle/have.js';
import { packCaches } from '../../../src/operations/bundle/pack.js';
import { unpackCaches } from '../../../src/operations/bundle/unpack.js';
import { copyOne } from '../../support/caches.js';
import { MAIN } from '../../support/command.js';
import { fixture, importOf, temporary } from '../../support/fixtures.js';
import { tagsOf } from '../../support/folders.js';
import { writeFileSync } from 'node:fs';

const IMPORTS = [fixture('grown'), fixture('inline-image')];
const TAGS = ['main', 'feature', 'inline'];
const into = (folder: string) => [`type=local,dest=${folder}`];

async function whole(t: ExecutionContext): Promise<string> {
  const output = join(temporary(t), 'caches.tar');
  await packCaches({ imports: IMPORTS, output });
  return output;
}

async function split(t: ExecutionContext): Promise<{ base: string; parts: string[] }> {
  const folder = temporary(t);
  const base = join(folder, 'caches.tar');
  await packCaches({ imports: IMPORTS, output: base, split: 10_000 });
  const parts = readdirSync(folder)
    .filter((name) => /\.\d+$/.test(name))
    .map((name) => join(folder, name));
  return { base, parts };
}

async function assertUnpacked(t: ExecutionContext, folder: string): Promise<void> {
  t.deepEqual(tagsOf(folder), TAGS);
  // A killed process leaves files that gc frees.
  const { findings } = await verifyFolder(folder);
  t.deepEqual(
    findings.filter(({ severity }) => severity === 'corrupt'),
    [],
  );
}

test('the parts of a split bundle are the whole one, with checksums that sha256sum reads, and nothing else is left', async (t) => {
  const { base, parts } = await split(t);
  t.is(parts.length, 5);
  t.deepEqual(Buffer.concat(parts.map((part) => readFileSync(part))), readFileSync(await whole(t)));
  const folder = join(base, '..');
  t.is(
    execFileSync('sha256sum', ['-c', 'caches.tar.sha256'], { cwd: folder, encoding: 'utf8' }).match(/OK/g)?.length,
    5,
  );
  await packCaches({ imports: [fixture('min-gzip')], output: base, split: 10_000 });
  t.deepEqual(readdirSync(folder), ['caches.tar.001', 'caches.tar.002', 'caches.tar.sha256']);
});

test('parts are unpacked in any order, from several folders, and by one name for all', async (t) => {
  const { base, parts } = await split(t);
  for (const bundle of [parts.toReversed(), [base], [`${base}.sha256`], [...parts, `${base}.sha256`]]) {
    const out = temporary(t);
    await unpackCaches({ bundle, exports: into(out) });
    await assertUnpacked(t, out);
  }
  const other = join(temporary(t), 'caches.tar.002');
  renameSync(`${base}.002`, other);
  const out = temporary(t);
  await unpackCaches({ bundle: [other, ...parts.filter((part) => !part.endsWith('2'))], exports: into(out) });
  await assertUnpacked(t, out);
  await copyOne(`type=bundle,src=${(await split(t)).base},tag=main`, temporary(t));
});

test('missing parts are named, and so are damaged ones', async (t) => {
  const { base, parts } = await split(t);
  const out = join(temporary(t), 'new');
  const refused = async (bundle: readonly string[]) => {
    const error = await t.throwsAsync(unpackCaches({ bundle, exports: into(out) }), { instanceOf: CacheError });
    t.false(existsSync(join(out, 'index.json')));
    return error;
  };
  t.is((await refused([...parts, parts[0] ?? ''])).code, 'USAGE');
  t.is((await refused([...parts, '/elsewhere/other.tar.001'])).code, 'USAGE');
  rmSync(`${base}.002`);
  rmSync(`${base}.005`);
  const gone = await refused([`${base}.001`]);
  t.is(gone.code, 'NOT_FOUND');
  t.regex(gone.message, /caches\.tar\.002, .*caches\.tar\.005$/);
  const second = await split(t);
  truncateSync(`${second.base}.003`, 9000);
  t.regex((await refused([second.base])).message, /caches\.tar\.003 has 9000 bytes/);
  const third = await split(t);
  const bytes = readFileSync(`${third.base}.004`);
  bytes.fill(7, 2000, 3000);
  writeFileSync(`${third.base}.004`, bytes);
  const damaged = await refused([third.base]);
  t.is(damaged.code, 'CORRUPT');
  t.regex(damaged.message, /caches\.tar\.004, byte \d+/);
});

test('a stream, in pieces of any size, comes out as the file does', async (t) => {
  const path = await whole(t);
  for (const highWaterMark of [1, 511, 4096, 1024 * 1024]) {
    const out = temporary(t);
    await unpackCaches({ bundle: createReadStream(path, { highWaterMark }), exports: into(out) });
    await assertUnpacked(t, out);
  }
});

test('a thin stream is refused before a layer is written, where layers are missing', async (t) => {
  const receiver = temporary(t);
  await copyOne(importOf('grown', 'main'), receiver);
  const have = join(temporary(t), 'have');
  writeFileSync(have, (await listLayers([receiver])).bytes);
  const output = join(temporary(t), 'thin.tar');
  const { required } = await packCaches({ imports: IMPORTS, output, have: [have] });
  t.true(required.length > 0);
  const out = join(temporary(t), 'new');
  const refused = unpackCaches({ bundle: createReadStream(output), exports: into(out) });
  t.is((await t.throwsAsync(refused, { instanceOf: CacheError })).code, 'NOT_FOUND');
  t.false(existsSync(out));
  await unpackCaches({ bundle: createReadStream(output), exports: into(receiver) });
  t.deepEqual(tagsOf(receiver), ['latest', ...TAGS]);
  t.is((await verifyFolder(receiver)).findings.length, 0);
});

test('a stream that ends early or is damaged anywhere publishes nothing, and the next run goes on', async (t) => {
  const path = await whole(t);
  const bytes = readFileSync(path);
  const out = temporary(t);
  const refused = async (changed: Buffer) => {
    writeFileSync(join(temporary(t), 'x'), '');
    const bundle = (async function* () {
      yield await Promise.resolve(changed);
    })();
    const error = await t.throwsAsync(unpackCaches({ bundle, exports: into(out) }), { instanceOf: CacheError });
    t.is(error.code, 'CORRUPT', error.message);
    t.regex(error.message, /byte \d+|SHA256SUMS|index/);
    t.false(existsSync(join(out, 'index.json')));
  };
  for (let size = 0; size < bytes.length; size += 1999) await refused(bytes.subarray(0, size));
  for (let at = 700; at < bytes.length - 1024; at += 1500) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0x10;
    await refused(changed);
  }
  const copied: string[] = [];
  await unpackCaches({
    bundle: createReadStream(path),
    exports: into(out),
    onProgress: (event) => event.type === 'layer' && copied.push(event.action),
  });
  t.true(copied.includes('present'));
  await assertUnpacked(t, out);
});

test('data behind the end of a stream, and endless zeros, are refused', async (t) => {
  const path = await whole(t);
  appendFileSync(path, Buffer.alloc(9216));
  await unpackCaches({ bundle: createReadStream(path), exports: into(temporary(t)) });
  for (const more of [Buffer.from('x'), Buffer.alloc(4 * 1024 * 1024)]) {
    appendFileSync(path, more);
    const unpacking = unpackCaches({ bundle: createReadStream(path), exports: into(temporary(t)) });
    t.regex((await t.throwsAsync(unpacking)).message, /data follows the end/);
  }
});

test('a receiver that is killed in the middle leaves no cache, and what it wrote is not written again', async (t) => {
  const path = await whole(t);
  const bytes = readFileSync(path);
  const out = temporary(t);
  const child = spawn(process.execPath, [MAIN, 'unpack', '-', '--export-cache', out], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.stdin.on('error', () => undefined);
  child.stdin.write(bytes.subarray(0, bytes.length - 9000));
  const blobs = join(out, 'blobs', 'sha256');
  for (let waited = 0; waited < 600 && !(existsSync(blobs) && readdirSync(blobs).length > 2); waited++)
    await sleep(100);
  t.true(readdirSync(blobs).length > 2);
  child.kill('SIGKILL');
  await once(child, 'exit');
  t.false(existsSync(join(out, 'index.json')));
  const actions: string[] = [];
  await unpackCaches({
    bundle: [path],
    exports: into(out),
    onProgress: (event) => event.type === 'layer' && actions.push(event.action),
  });
  t.true(actions.includes('present'));
  await assertUnpacked(t, out);
});

test('an unpack stops at once when it is aborted, also while it waits for a pipe that is silent', async (t) => {
  const bytes = readFileSync(await whole(t));
  const out = join(temporary(t), 'new');
  const stop = new AbortController();
  const bundle = (async function* () {
    yield bytes.subarray(0, 700);
    stop.abort(new Error('enough'));
    await new Promise(() => undefined);
  })();
  const error = await t.throwsAsync(unpackCaches({ bundle, exports: into(out), signal: stop.signal }), {
    instanceOf: CacheError,
  });
  t.like(error, { code: 'ABORTED', message: 'enough' });
  t.false(existsSync(out));
});
