/**
 * Lets `bkcache serve` run under load, and shows that its memory and its open files stay where they are; meanwhile one
 * client uploads so slowly that it takes six minutes, and one connection is idle for 70 seconds.
 *
 *     npm run build && node dist/scripts/soak.js [REQUESTS]
 *
 * The exit code is 1 when an answer is wrong, when the store is not sound at the end, or when memory or files grow.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { sha256 } from '../src/oci/digest.js';
import { verifyFolder } from '../src/operations/verify/verify.js';
import { freePort } from '../test/support/process.js';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const CLIENTS = 16;
const SAMPLES = 10;
/** What memory may grow by from the first third of the samples to the last, in bytes: the heap of Node breathes. */
const MEMORY_SLACK = 48 * 1024 * 1024;
const FILES_SLACK = 8;
/** In milliseconds. */
const SLOW_UPLOAD = 6 * 60_000;
const IDLE = 70_000;

interface Sample {
  readonly requests: number;
  readonly memory: number;
  readonly files: number;
}

const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
const port = await freePort();
let requests = 0;

async function ask(method: string, path: string, body: Uint8Array | string = '', type = ''): Promise<number> {
  requests++;
  const headers = { 'content-length': Buffer.byteLength(body), ...(type === '' ? {} : { 'content-type': type }) };
  const outgoing = request({ agent, port, host: '127.0.0.1', method, path, headers });
  outgoing.end(body);
  const [answer] = (await once(outgoing, 'response')) as [NodeJS.ReadableStream & { statusCode?: number }];
  answer.resume();
  await once(answer, 'end');
  return answer.statusCode ?? 0;
}

async function expect(status: number, ...asked: Parameters<typeof ask>): Promise<void> {
  const found = await ask(...asked);
  if (found !== status) throw new Error(`${asked[0]} ${asked[1]} was answered with ${found}, not ${status}`);
}

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** One round of a client: a push, pulls, listings and a deletion. */
async function round(client: number): Promise<void> {
  const repository = `/v2/soak/client-${client}`;
  const layer = randomBytes(1000 + Math.floor(Math.random() * 20_000));
  for (const blob of [layer, '{}']) {
    if ((await ask('HEAD', `${repository}/blobs/${sha256(blob)}`)) === 200) continue;
    await expect(201, 'POST', `${repository}/blobs/uploads/?digest=${sha256(blob)}`, blob);
  }
  const config = { mediaType: 'application/x', digest: sha256('{}'), size: 2 };
  const layers = [{ mediaType: 'application/x', digest: sha256(layer), size: layer.length }];
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers });
  const tag = `t${Math.floor(Math.random() * 5)}`;
  await expect(201, 'PUT', `${repository}/manifests/${tag}`, manifest, MANIFEST);
  for (let pull = 0; pull < 4; pull++) {
    await expect(200, 'GET', `${repository}/manifests/${tag}`);
    await expect(200, 'GET', `${repository}/blobs/${sha256(layer)}`);
    await expect(200, 'HEAD', `${repository}/blobs/${sha256(layer)}`);
    await expect(404, 'GET', `${repository}/blobs/${sha256(randomBytes(8))}`);
  }
  await expect(200, 'GET', `${repository}/tags/list`);
  // A client that leaves in the middle.
  if (Math.random() < 0.05) await abandoned(`${repository}/blobs/uploads/?digest=${sha256(randomBytes(8))}`);
  if (Math.random() < 0.2) await expect(202, 'DELETE', `${repository}/manifests/${tag}`);
}

/** A client that is killed while it sends. */
async function abandoned(path: string): Promise<void> {
  requests++;
  const outgoing = request({ port, host: '127.0.0.1', method: 'POST', path, headers: { 'content-length': 100_000 } });
  outgoing.on('error', () => undefined);
  await new Promise<void>((resolve) => void outgoing.write(randomBytes(50_000), () => resolve()));
  outgoing.destroy();
}

async function sample(): Promise<Sample> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const value = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
  return { requests, memory: value('process_resident_memory_bytes'), files: value('process_open_fds') };
}

/** An upload of a byte each second. */
async function slowUpload(): Promise<string> {
  const bytes = randomBytes(SLOW_UPLOAD / 1000);
  const path = `/v2/soak/slow/blobs/uploads/?digest=${sha256(bytes)}`;
  const outgoing = request({
    port,
    host: '127.0.0.1',
    method: 'POST',
    path,
    headers: { 'content-length': bytes.length },
  });
  const answered = once(outgoing, 'response') as Promise<[{ statusCode?: number }]>;
  for (const byte of bytes) {
    outgoing.write(Uint8Array.of(byte));
    await Promise.race([sleep(1000), answered]);
  }
  outgoing.end();
  return `an upload of ${SLOW_UPLOAD / 60_000} minutes was answered with ${(await answered)[0].statusCode}`;
}

/** Two requests on one connection, with nothing between them for more than a minute. */
async function idleConnection(): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answers = 0;
  socket.on('data', (chunk: Buffer) => (answers += chunk.toString('latin1').split('HTTP/1.1 200').length - 1));
  const text = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';
  socket.write(text);
  await sleep(IDLE);
  socket.write(text);
  await sleep(1000);
  socket.destroy();
  return `a connection idle for ${IDLE / 1000} s got ${answers} answers to 2 requests`;
}

const total = Number(process.argv[2] ?? 100_000);
const folder = await mkdtemp(join(tmpdir(), 'bkcache-soak-'));
const store = join(folder, 'store');
const words = ['serve', '--registry', '--store', store, '--listen', `127.0.0.1:${port}`, '--quiet', '--no-fsync'];
const limits = ['--keep-free', '0'];
const server = spawn(process.execPath, [MAIN, ...words, ...limits], { stdio: ['ignore', 'inherit', 'pipe'] });
try {
  await once(server.stderr, 'data');
  const slow = Promise.all([slowUpload(), idleConnection()]);
  const samples: Sample[] = [];
  const sampling = (async () => {
    for (let next = total / SAMPLES; samples.length < SAMPLES; await sleep(20)) {
      if (requests < next) continue;
      samples.push(await sample());
      next += total / SAMPLES;
    }
  })();
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      for (let isDone = false; !isDone; isDone = requests >= total) await round(client);
    }),
  );
  await sampling;
  for (const { requests: count, memory, files } of samples) {
    process.stdout.write(`${count} requests: ${Math.round(memory / 1e6)} MB, ${files} open files\n`);
  }
  const said = await slow;
  for (const line of said) process.stdout.write(`${line}\n`);
  const third = Math.floor(SAMPLES / 3);
  const growth = (of: (one: Sample) => number) =>
    Math.max(...samples.slice(-third).map(of)) - Math.max(...samples.slice(0, third).map(of));
  const { sound } = await verifyFolder(store);
  const grown = growth(({ memory }) => memory) > MEMORY_SLACK || growth(({ files }) => files) > FILES_SLACK;
  const isSlowServed = said[0].endsWith('201') && said[1].includes('got 2 answers');
  process.stdout.write(`the store is ${sound ? 'sound' : 'NOT sound'}; memory and files ${grown ? 'GROW' : 'stay'}\n`);
  if (!sound || grown || !isSlowServed) process.exitCode = 1;
} finally {
  server.kill('SIGTERM');
  if (server.exitCode === null) await once(server, 'exit');
  agent.destroy();
  await rm(folder, { recursive: true, force: true });
}
