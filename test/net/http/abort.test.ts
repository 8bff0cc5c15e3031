import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createSecureServer } from 'node:https';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readFileSync, writeFileSync, chmodSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { CacheError } from '../../../src/errors.js';
import {
  copyCache,
  importArguments,
  importCache,
  inspectCache,
  listCaches,
  repairFolder,
  resolveCache,
  verifyCache,
} from '../../../src/index.js';
import { startBentRegistry } from '../../support/bent-registry.js';
import { makeCertificate } from '../../support/certificate.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { listening } from '../../support/servers.js';
import { copyFixture } from '../../support/folders.js';

/**
 * How long an aborted call may take to settle: a second, counted in turns of this process, so that a machine that is busy
 * with something else counts more slowly.
 */
const TURNS = 40;
const TURN = 25;

async function aSecond(): Promise<'late'> {
  for (let turn = 0; turn < TURNS; turn++) await sleep(TURN);
  return 'late';
}

// What is remembered of conversions is not the business of these tests.
process.env['XDG_CACHE_HOME'] = mkdtempSync(join(tmpdir(), 'bkcache-abort-'));
test.after.always(() => rmSync(process.env['XDG_CACHE_HOME'] ?? '', { recursive: true, force: true }));

const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => unhandled.push(reason));
test.afterEach.always((t) => {
  t.deepEqual(unhandled, []);
});

/** Every exported call that talks to a registry. */
const CALLS: Readonly<Record<string, (t: ExecutionContext, ref: string, signal: AbortSignal) => Promise<unknown>>> = {
  resolveCache: (_, ref, signal) => resolveCache(ref, { signal }),
  importArguments: (_, ref, signal) => importArguments([ref], 'buildx', () => undefined, { signal }),
  inspectCache: (_, ref, signal) => inspectCache(ref, { signal }),
  listCaches: (_, ref, signal) => listCaches(ref, { signal }),
  verifyCache: (_, ref, signal) => verifyCache(ref, { signal }),
  'copyCache from': (t, ref, signal) => copyCache({ imports: [ref], exports: [into(t)], signal }),
  'copyCache to': (_, ref, signal) => copyCache({ imports: [importOf('max-gzip')], exports: [`${ref}:new`], signal }),
  'copyCache converted': (_, ref, signal) =>
    copyCache({
      imports: [importOf('max-gzip')],
      exports: [`${ref}:other,compression=zstd,force-compression=true`],
      signal,
    }),
  'copyCache mounted': (_, ref, signal) =>
    copyCache({ imports: [ref], exports: [`${ref.replace('team/', 'other/')}:new`], signal }),
  importCache: (t, ref, signal) => importCache(join(temporary(t), 'store'), 'name', [ref], { signal }),
  repairFolder: (t, ref, signal) => repairFolder(broken(t), { from: [ref], signal }),
};

function into(t: ExecutionContext): string {
  return `type=local,dest=${join(temporary(t), 'copy')}`;
}

/** A copy of a fixture without its blobs of layers. */
function broken(t: ExecutionContext): string {
  const folder = join(temporary(t), 'broken');
  copyFixture('max-gzip', folder);
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: [{ digest: string }] };
  const path = (digest: string) => join(folder, 'blobs', ...digest.split(':'));
  const manifest = JSON.parse(readFileSync(path(index.manifests[0].digest), 'utf8')) as {
    layers: { digest: string }[];
  };
  for (const { digest } of manifest.layers) rmSync(path(digest), { force: true });
  return folder;
}

/** Aborts a call, and says what it settled with; `late` when it did not within a second. */
async function aborted(call: (signal: AbortSignal) => Promise<unknown>, reached: Promise<unknown>) {
  const stop = new AbortController();
  const reason = new Error('enough');
  const outcome = call(stop.signal).then(
    () => undefined,
    (error: unknown) => error,
  );
  const first = await Promise.race([reached, outcome.then(() => 'settled')]);
  if (first === 'settled') return { error: await outcome, reason, isEarly: true };
  stop.abort(reason);
  return { error: await Promise.race([outcome, aSecond()]), reason, isEarly: false };
}

/** What a server does at the n-th request, and then no more. */
const STALLS = {
  'before its answer': () => undefined,
  'in its headers': (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-le'),
  'after its headers': (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n'),
  'in a redirect': (socket: Socket) =>
    socket.write('HTTP/1.1 307 Go\r\nlocation: /elsewhere\r\ncontent-length: 9\r\n\r\n'),
  'in a challenge': (socket: Socket) =>
    socket.write('HTTP/1.1 401 No\r\nwww-authenticate: Bearer realm="/token"\r\ncontent-length: 9\r\n\r\n'),
  'in a failure': (socket: Socket) => socket.write('HTTP/1.1 503 No\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n'),
} as const;

for (const [name, call] of Object.entries(CALLS)) {
  test(`${name} settles soon after its abort, wherever a registry stalls`, async (t) => {
    let stalls = 0;
    for (const [where, stall] of Object.entries(STALLS)) {
      for (let step = 0; ; step++) {
        const registry = await startBentRegistry(t, 'max-gzip');
        let requests = 0;
        let reach: (() => void) | undefined;
        const reached = new Promise<void>((resolve) => (reach = resolve));
        registry.bend = ({ answer }) => {
          if (requests++ < step) return false;
          if (answer.socket) stall(answer.socket);
          // A moment, so that the client gets it.
          setTimeout(() => reach?.(), 10);
          return true;
        };
        const { error, reason, isEarly } = await aborted((signal) => call(t, registry.ref, signal), reached);
        if (requests <= step) break;
        stalls++;
        t.not(error, 'late', `${where}, request ${step} (${registry.seen.at(-1)})`);
        // A refusal may be all that it takes to fail before, and the head of the last answer all that it takes to be done.
        if (isEarly || (error === undefined && where === 'after its headers')) continue;
        t.true(error instanceof CacheError, `${where}, request ${step}: ${String(error)}`);
        t.like(error, { code: 'ABORTED', cause: reason });
      }
    }
    t.true(stalls >= Object.keys(STALLS).length);
  });
}

test('a call settles soon after its abort while it connects, shakes hands or asks a helper', async (t) => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket.on('error', () => undefined)));
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  const port = (await listening(t, silent)).split(':')[1];
  // Not known to be this machine, so that TLS is spoken.
  for (const ref of [`127.1:${port}/team/cache`, `localhost:${port}/team/cache`]) {
    const connected = once(silent, 'connection');
    const result = await aborted((signal) => resolveCache(ref, { signal }), connected);
    t.like(result, { error: { code: 'ABORTED', cause: result.reason }, isEarly: false });
  }
  const made = await makeCertificate(temporary(t));
  const secure = createSecureServer({ key: readFileSync(made.key), cert: readFileSync(made.certificate) });
  const host = await listening(t, secure);
  t.teardown(() => secure.closeAllConnections());
  const asked = once(secure, 'request');
  const call = (signal: AbortSignal) =>
    resolveCache(`${host}/team/cache`, { signal, registry: { ca: made.certificate } });
  const result = await aborted(call, asked);
  t.like(result, { error: { code: 'ABORTED', cause: result.reason } });
});

test.serial('a call settles soon after its abort while a credential helper thinks', async (t) => {
  const registry = await startBentRegistry(t);
  registry.bend = ({ answer, path }) => {
    if (path === '') return false;
    answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    return true;
  };
  const folder = mkdtempSync(join(tmpdir(), 'bkcache-helper-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'config.json'), '{"credsStore":"slow"}');
  writeFileSync(join(folder, 'docker-credential-slow'), `#!/bin/sh\necho > ${folder}/asked\nexec sleep 20\n`);
  chmodSync(join(folder, 'docker-credential-slow'), 0o755);
  const before = { ...process.env };
  Object.assign(process.env, { DOCKER_CONFIG: folder, PATH: `${folder}:${before['PATH']}` });
  t.teardown(() => {
    delete process.env['DOCKER_CONFIG'];
    Object.assign(process.env, before);
  });
  const { error, reason } = await aborted((signal) => resolveCache(registry.ref, { signal }), sleep(500));
  t.like(error, { code: 'ABORTED', cause: reason });
});
