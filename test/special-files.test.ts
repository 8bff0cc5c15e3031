import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { collectGarbage } from '../src/operations/gc.js';
import { copyCache } from '../src/operations/copy/copy.js';
import { trustedCertificates } from '../src/net/http/certificates.js';
import { dockerCredentials } from '../src/net/registry/docker-credentials.js';
import { CacheError } from '../src/errors.js';
import { resolveCache } from '../src/operations/resolve.js';
import { bkcache, MAIN } from './support/command.js';
import { importOf, temporary } from './support/fixtures.js';
import { copyFixture } from './support/folders.js';

const MARKER = '.bkcache/0a1b2c3d-0000-4000-8000-000000000000';

/** Things that may stand where a file is looked for, none of which may be read or waited for. */
const OTHERS: Readonly<Record<string, (path: string) => void>> = {
  'a pipe': (path) => void spawnSync('mkfifo', [path]),
  'a link to /dev/zero': (path) => symlinkSync('/dev/zero', path),
  'a link to a file': (path) => symlinkSync('/etc/passwd', path),
  'a folder': (path) => mkdirSync(path),
};

function folderWith(t: ExecutionContext, path: string, put: (path: string) => void): string {
  const folder = join(temporary(t), 'cache');
  copyFixture('max-gzip', folder);
  mkdirSync(join(folder, '.bkcache'));
  rmSync(join(folder, path), { force: true });
  put(join(folder, path));
  return folder;
}

/** A pipe that is waited for keeps the process, whatever becomes of the promise. */
const within = <T>(promise: Promise<T>): Promise<T | 'too late'> =>
  Promise.race([promise, sleep(60_000, 'too late' as const, { ref: false })]);

const layout = { durable: false };
const copyInto = (folder: string) =>
  copyCache({ imports: [importOf('min-gzip')], exports: [`type=local,dest=${folder},tag=new`], layout });

for (const [what, put] of Object.entries(OTHERS)) {
  // Not needed to read a cache.
  test(`${what} in the place of files that are no cache's stops nobody`, async (t) => {
    for (const path of ['CACHEDIR.TAG', MARKER, `new.${MARKER.slice('.bkcache/'.length)}`, 'oci-layout']) {
      const folder = folderWith(t, path, put);
      t.not(await within(resolveCache(`type=local,src=${folder}`)), 'too late', path);
      t.not(await within(copyInto(folder)), 'too late', path);
      t.not(await within(collectGarbage(folder)), 'too late', path);
    }
  });

  test(`${what} in the place of index.json or its lock is refused at once`, async (t) => {
    for (const path of what === 'a pipe' ? ['index.json'] : ['index.json', 'index.json.lock']) {
      const folder = folderWith(t, path, put);
      await t.throwsAsync(within(copyInto(folder)), { instanceOf: Error }, path);
      if (path === 'index.json.lock') continue;
      await t.throwsAsync(within(resolveCache(`type=local,src=${folder}`)), { instanceOf: Error });
      await t.throwsAsync(within(collectGarbage(folder)), { instanceOf: Error });
    }
  });
}

test('what a link or a pipe pretends to be a marker of goes with a collection', async (t) => {
  for (const put of Object.values(OTHERS)) {
    const folder = folderWith(t, MARKER, put);
    await collectGarbage(folder);
    t.false(existsSync(join(folder, MARKER)));
  }
  t.true(existsSync('/etc/passwd'));
});

test('configurations and certificates without an end are given up', async (t) => {
  const folder = temporary(t);
  const config = join(folder, 'config.json');
  for (const [what, put] of Object.entries(OTHERS)) {
    if (what === 'a link to a file') continue;
    rmSync(config, { recursive: true, force: true });
    put(config);
    const error = await t.throwsAsync(within(dockerCredentials('registry.example', { DOCKER_CONFIG: folder })), {
      instanceOf: CacheError,
    });
    t.regex(error.message, /config\.json/);
  }
  const error = await t.throwsAsync(within(trustedCertificates('/dev/zero', {})), { instanceOf: CacheError });
  t.is(error.code, 'USAGE');
});

test('certificates come out of a pipe, as a shell makes them', async (t) => {
  const folder = temporary(t);
  spawnSync('mkfifo', [join(folder, 'ca')]);
  const writer = spawn('sh', ['-c', `cat ${join(folder, 'none')} - > ${join(folder, 'ca')}`], { stdio: 'pipe' });
  writer.stdin.end('no certificate');
  const error = await t.throwsAsync(within(trustedCertificates(join(folder, 'ca'), {})), { instanceOf: CacheError });
  t.regex(error.message, /no certificates in PEM form/);
});

test('a password without an end is given up', async (t) => {
  const args = ['list', 'type=registry,ref=localhost:1/x', '--username', 'me', '--password-stdin'];
  const { code, stderr } = await bkcache(args, {}, 'x'.repeat(3 * 1024 * 1024));
  t.is(code, 2);
  t.regex(stderr, /too long for a password/);
});

const ended = (child: ChildProcess) =>
  new Promise<number | string | null>((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));

test('SIGTERM ends the command, whatever it waits for', async (t) => {
  const pipe = join(temporary(t), 'pipe');
  spawnSync('mkfifo', [pipe]);
  const args = ['list', 'type=registry,ref=registry.invalid/x', '--registry-ca', pipe];
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: 'ignore' });
  const end = ended(child);
  await sleep(3000);
  child.kill('SIGTERM');
  const outcome = await within(end);
  t.true(outcome === 143 || outcome === 'SIGTERM', String(outcome));
});

test('a path that is not UTF-8 is refused, and nothing is written elsewhere', (t) => {
  const folder = temporary(t);
  const run = (words: string) =>
    spawnSync('sh', ['-c', `cd "$0" && d=$(printf 'x\\377y') && exec "$@" ${words}`, folder, process.execPath, MAIN], {
      encoding: 'utf8',
    });
  for (const words of [
    `copy --import-cache ${importOf('min-gzip')} --export-cache "type=local,dest=./$d"`,
    `import name --import-cache ${importOf('min-gzip')} --store "$d"`,
    `verify "./$d"`,
    `gc "./$d"`,
  ]) {
    const { status, stderr } = run(words);
    t.is(status, 2, stderr);
    t.regex(stderr, /not UTF-8/);
  }
  t.deepEqual(readdirSync(folder), []);
});
