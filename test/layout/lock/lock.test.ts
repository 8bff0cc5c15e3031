import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
  ftruncateSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { tryFlock } from '../../../src/layout/lock/flock.js';
import { updateIndex } from '../../../src/layout/index/index-file.js';
import { readIndex } from '../../../src/layout/index/index-read.js';
import { withTag } from '../../../src/layout/index/index-json.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { withLock } from '../../../src/layout/lock/lock.js';
import { temporary } from '../../support/fixtures.js';
import { entryNamed, putTag, tagsIn } from '../../support/layouts.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../../../src/layout/settings.js';

test('a lock that is held makes writers wait, then fail with who holds it', async (t) => {
  const root = temporary(t);
  const layout = await createLayout(root, { ...DEFAULT_LAYOUT_SETTINGS, lockTimeout: 50 });
  await putTag(layout, 'a');
  const holder = openSync(join(root, 'index.json.lock'), 'w');
  t.true(tryFlock(holder, 'exclusive'));
  const error = await t.throwsAsync(putTag(layout, 'b'), { instanceOf: CacheError });
  t.is(error.code, 'BUSY');
  t.regex(error.message, process.platform === 'linux' ? new RegExp(`pid ${process.pid}`) : /locked by/);
  const other = await createLayout(root, { ...DEFAULT_LAYOUT_SETTINGS, lockTimeout: 10_000 });
  const patient = putTag(other, 'b');
  await sleep(60);
  closeSync(holder);
  await patient;
  await other[Symbol.asyncDispose]();
  t.deepEqual(await tagsIn(layout), ['a', 'b']);
  t.false(existsSync(join(root, 'index.json.lock')));
  await layout[Symbol.asyncDispose]();
});

test('the lock is the one that flock(1) takes, and so BuildKit', async (t) => {
  const root = temporary(t);
  const path = join(root, 'index.json.lock');
  const child = spawn('flock', [path, '-c', 'echo held; sleep 30'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  const started = await new Promise((resolve) => {
    child.stdout.once('data', () => resolve(true));
    child.once('error', () => resolve(false));
  });
  if (started !== true) {
    t.pass('there is no flock(1) here');
    return;
  }
  await t.throwsAsync(
    withLock(join(root, 'index.json'), 'shared', () => Promise.resolve(), { timeout: 0 }),
    {
      instanceOf: CacheError,
      message: /locked/,
    },
  );
  if (child.pid !== undefined) process.kill(-child.pid);
});

test('an index that was lost is not begun anew over the blobs of others', async (t) => {
  const root = temporary(t);
  const layout = await createLayout(root);
  await putTag(layout, 'a');
  await layout[Symbol.asyncDispose]();
  writeFileSync(join(root, 'index.json'), '');
  // Nothing is there that could be lost.
  await (await createLayout(root))[Symbol.asyncDispose]();
  writeFileSync(join(root, 'blobs', 'sha256', 'a'.repeat(64)), 'of another cache');
  const error = await t.throwsAsync(createLayout(root), { instanceOf: CacheError });
  t.is(error.code, 'CORRUPT');
  t.regex(error.hint ?? '', /bkcache repair/);
});

test('many updates at once are all there in the end', async (t) => {
  const root = temporary(t);
  const names = Array.from({ length: 40 }, (_, index) => `tag-${index}`);
  await Promise.all(
    names.map(async (name) => {
      const layout = await createLayout(root, { ...DEFAULT_LAYOUT_SETTINGS, durable: false });
      await putTag(layout, name);
      await layout[Symbol.asyncDispose]();
    }),
  );
  const layout = await createLayout(root);
  t.deepEqual((await tagsIn(layout)).toSorted(), names.toSorted());
  t.false(existsSync(join(root, '.bkcache')));
});

test('what a build writes into the replaced file, under a lock that meets nobody, is not lost', async (t) => {
  const root = temporary(t);
  const layout = await createLayout(root);
  await putTag(layout, 'a');
  const path = join(root, 'index.json');
  // BuildKit has read the file and is about to write it in place; its lock file was deleted by another build.
  const build = openSync(path, 'r+');
  const before = JSON.parse(readFileSync(path, 'utf8')) as { manifests: object[] };
  let wrote = false;
  await updateIndex(layout, (index) => {
    if (!wrote) {
      wrote = true;
      setTimeout(() => {
        const late = { ...entryNamed('late'), annotations: { 'org.opencontainers.image.ref.name': 'late' } };
        const bytes = Buffer.from(JSON.stringify({ ...before, manifests: [...before.manifests, late] }));
        writeSync(build, bytes, 0, bytes.length, 0);
        ftruncateSync(build, bytes.length);
      }, 0);
    }
    return withTag(index, 'b', entryNamed('b'));
  });
  closeSync(build);
  t.deepEqual((await tagsIn(layout)).toSorted(), ['a', 'b', 'late']);
  await layout[Symbol.asyncDispose]();
});

test('an index that is being written in place is read again', async (t) => {
  const root = temporary(t);
  const layout = await createLayout(root);
  await putTag(layout, 'a');
  const path = join(root, 'index.json');
  const whole = readFileSync(path);
  writeFileSync(path, whole.subarray(0, 30));
  setTimeout(() => writeFileSync(path, whole), 3);
  t.deepEqual(await tagsIn(layout), ['a']);
  writeFileSync(path, whole.subarray(0, 30));
  await t.throwsAsync(readIndex(layout), { instanceOf: CacheError, message: /not JSON/ });
  await layout[Symbol.asyncDispose]();
});

test('reading a folder leaves nothing in it, and needs no right to write', async (t) => {
  const root = temporary(t);
  mkdirSync(join(root, 'blobs', 'sha256'), { recursive: true });
  writeFileSync(join(root, 'index.json'), '{"schemaVersion":2,"manifests":[]}');
  const layout = await createLayout(root);
  await layout[Symbol.asyncDispose]();
  rmSync(join(root, 'oci-layout'));
  t.deepEqual(await tagsIn(layout), []);
  t.false(existsSync(join(root, 'index.json.lock')));
});
