import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { fixture, importOf, temporary } from '../support/fixtures.js';
import { grown } from '../support/folders.js';
import { MAIN, startCommand } from '../support/command.js';
import { preload } from '../support/preload.js';

/** Runs the command; its stdout and stderr are one text. A signal stops it when something has happened. */
async function bkcache(
  args: readonly string[],
  stopWith?: NodeJS.Signals,
  when?: Promise<void>,
): Promise<{ code: number | null; text: string }> {
  const { child, outcome } = startCommand(args);
  child.stdin.end();
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  if (stopWith !== undefined) void when?.then(() => child.kill(stopWith));
  const { code } = await outcome;
  return { code, text };
}

test('verify, repair, gc and prune: what they print, and their exit codes', async (t) => {
  const folder = grown(t);
  const sound = await bkcache(['verify', '--deep', folder]);
  t.is(sound.code, 0);
  t.regex(sound.text, /note: 8 blobs that nothing refers to.*\n {2}repair: bkcache gc/);
  t.regex(sound.text, /sound; 2 entries, 20 blobs read/);
  const gc = await bkcache(['gc', folder]);
  t.is(gc.code, 0);
  t.regex(gc.text, /freed: 20\.6 kB \(8 blobs\)/);
  t.regex(gc.text, /main +b8d973a3e77d +10\.9 kB +572 B +10\.3 kB/);
  const [blob = ''] = readdirSync(join(folder, 'blobs', 'sha256'));
  rmSync(join(folder, 'blobs', 'sha256', blob));
  const corrupt = await bkcache(['verify', '--json', folder]);
  t.is(corrupt.code, 4);
  t.like(JSON.parse(corrupt.text), { sound: false, findings: [{ kind: 'missing', digest: `sha256:${blob}` }] });
  const repaired = await bkcache(['repair', '--from', `type=local,src=${fixture('grown')},tag=main`, folder]);
  t.is(repaired.code, 0, repaired.text);
  t.regex(repaired.text, /fetched sha256:.*\n.*sound again/);
  const planned = await bkcache(['prune', '--untag', 'm*', '--dry-run', folder]);
  t.regex(planned.text, /would be dropped: main.*\n.*\nwould be freed: 10\.3 kB/);
  t.notRegex(planned.text, /^main /m);
  const pruned = await bkcache(['prune', '--json', '--untag', 'm*', folder]);
  t.is(pruned.code, 0);
  t.like(JSON.parse(pruned.text), { dropped: [{ tag: 'main', reason: 'untag' }] });
  const limited = ['prune', '--max-size', '1kB', '--keep', '*', folder];
  const kept = await bkcache(limited);
  t.is(kept.code, 0);
  t.regex(kept.text, /^note: not reached: 1000 bytes/m);
  t.is((await bkcache([...limited, '--require-size'])).code, 1);
  t.is((await bkcache(['prune', '--require-size', '--keep-last', '1', folder])).code, 2);
  t.is((await bkcache(['verify', folder])).code, 0);
});

/** A registry with one cache, which never answers when it is asked for the cache's smallest layer. */
async function stallingRegistry(t: ExecutionContext): Promise<{ port: number; asked: Promise<void> }> {
  const folder = fixture('max-gzip');
  const blobs = join(folder, 'blobs', 'sha256');
  const { manifests } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as Listing;
  const manifest = readFileSync(join(blobs, manifests[0]?.digest.slice('sha256:'.length) ?? ''));
  const { mediaType, layers } = JSON.parse(manifest.toString()) as Listing;
  const [smallest] = layers.toSorted((one, other) => one.size - other.size);
  let tell: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => (tell = resolve));
  const server = createServer((request, response) => {
    const digest = /sha256:([0-9a-f]{64})$/.exec(request.url ?? '')?.[1];
    if (request.url?.includes('/manifests/') === true)
      response.setHeader('content-type', mediaType).end(request.method === 'HEAD' ? undefined : manifest);
    else if (digest === undefined) response.end();
    else if (smallest?.digest === `sha256:${digest}`) tell();
    else response.end(readFileSync(join(blobs, digest)));
  });
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, asked };
}

interface Listing {
  readonly mediaType: string;
  readonly manifests: readonly { readonly digest: string }[];
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
  ['SIGQUIT', 131],
] as const) {
  test(`${signal} stops soon, with exit code ${code}, and what is kept is named`, async (t) => {
    const out = join(temporary(t), 'out');
    const { port, asked } = await stallingRegistry(t);
    const source = `type=registry,ref=127.0.0.1:${port}/x:latest,registry.insecure=true`;
    const args = ['copy', '--concurrency', '1', '--import-cache', source, '--export-cache', out];
    const { code: exit, text } = await bkcache(args, signal, asked);
    t.is(exit, code, text);
    t.true(text.endsWith(`bkcache: stopped by ${signal}\n`), text);
    t.regex(text, /^kept for the next run: 5 layers /m);
    t.deepEqual(readdirSync(out).toSorted(), ['blobs', 'oci-layout']);
    t.is(readdirSync(join(out, 'blobs', 'sha256')).length, 5);
  });
}

test('a process ends although stdout cannot be synced', async (t) => {
  const folder = temporary(t);
  const library = preload(
    t,
    '#include <errno.h>\nint fsync(int fd) { if (fd > 2) return 0; errno = EDQUOT; return -1; }\n',
  );
  if (library === undefined) return;
  const log = openSync(join(folder, 'log'), 'w');
  const { status } = spawnSync(process.execPath, [MAIN, 'gc', '--dry-run', grown(t)], {
    stdio: ['ignore', log, log],
    env: { ...process.env, LD_PRELOAD: library },
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  closeSync(log);
  t.is(status, 0);
  t.regex(readFileSync(join(folder, 'log'), 'utf8'), /in use/);
});

test('a lock that is held is exit 5 after --lock-timeout, with who to look for', async (t) => {
  const folder = grown(t);
  const holder = spawn('flock', [join(folder, 'index.json.lock'), '-c', 'sleep 60'], { detached: true });
  const started = await new Promise((resolve) => {
    holder.once('spawn', () => resolve(true)).once('error', () => resolve(false));
  });
  if (started !== true) {
    t.pass('there is no flock(1) here');
    return;
  }
  await sleep(500);
  try {
    const copy = (from: string, to: string) => ['copy', '--import-cache', from, '--export-cache', to];
    const [into, out] = [`type=local,dest=${folder},tag=new`, `type=local,dest=${join(temporary(t), 'out')}`];
    for (const args of [copy(importOf('min-gzip'), into), ['prune', '--untag', 'feature', folder], ['gc', folder]]) {
      const { code, text } = await bkcache([...args, '--lock-timeout', '100ms']);
      t.is(code, 5, `${args.join(' ')}: ${text}`);
      t.regex(text, /is locked by (?:flock|sh|sleep|another)/, args.join(' '));
    }
    // Who only reads needs no lock.
    const cache = `type=local,src=${folder},tag=main`;
    for (const args of [
      ['verify', folder],
      ['repair', folder],
      ['list', folder],
      ['resolve', cache],
      ['import-args', cache],
      ['inspect', cache],
      ['gc', '--dry-run', folder],
      copy(cache, out),
    ]) {
      const { code, text } = await bkcache([...args, '--lock-timeout', '100ms']);
      t.is(code, 0, `${args.join(' ')}: ${text}`);
    }
  } finally {
    if (holder.pid !== undefined) process.kill(-holder.pid);
  }
});

test('--heal replaces a damaged blob that is there already', async (t) => {
  const folder = grown(t);
  const layer = readdirSync(join(folder, 'blobs', 'sha256')).find((name) => {
    return readFileSync(join(folder, 'blobs', 'sha256', name))[0] === 0x1f;
  });
  const path = join(folder, 'blobs', 'sha256', layer ?? '');
  const bytes = readFileSync(path);
  rmSync(path);
  writeFileSync(path, Buffer.alloc(bytes.length));
  for (const tag of ['main', 'feature']) {
    const args = [
      'copy',
      '--quiet',
      '--import-cache',
      importOf('grown', tag),
      '--export-cache',
      `type=local,dest=${folder},tag=${tag}`,
    ];
    await bkcache([...args, '--heal', '--no-fsync']);
  }
  const { text } = await bkcache(['gc', '--grace', '0', folder]);
  t.regex(text, /in use/);
  t.is((await bkcache(['verify', folder])).code, 0);
});
