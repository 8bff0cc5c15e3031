/**
 * The same work for `bkcache serve` and for docker-registry: 64 clients push blobs, ask whether they are there, and pull
 * them. Both keep what they get on the same disk.
 *
 *     npm run build && node dist/scripts/bench/serve.js [ROUNDS]
 *
 * docker-registry syncs nothing; bkcache is measured with --no-fsync therefore, and with its syncs as well.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sha256 } from '../../src/oci/digest.js';
import { startServe } from '../../test/support/bkcache-serve.js';
import { startRegistry } from '../../test/support/docker-registry.js';
import type { Server } from '../../test/support/process.js';
import { median } from './run.js';

const CLIENTS = 64;
/** How many blobs of a size: layers of images, and the many small ones of build caches. */
const BLOBS = [
  { size: 4_000_000, count: 128 },
  { size: 10_000, count: 1000 },
] as const;
const HEADS = 10;

const SERVERS: ReadonlyMap<string, (folder: string) => Promise<Server>> = new Map([
  ['bkcache, --no-fsync', (folder: string) => startServe(folder, ['--no-fsync'])],
  ['bkcache', (folder: string) => startServe(folder)],
  ['docker-registry', (folder: string) => startRegistry(folder)],
]);

class Client {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  readonly #host: string;

  constructor(host: string) {
    this.#host = host;
  }

  async ask(method: string, path: string, body?: Uint8Array): Promise<IncomingMessage> {
    const url = new URL(path, `http://${this.#host}`);
    const outgoing = request(url, { agent: this.#agent, method, headers: { 'content-length': body?.length ?? 0 } });
    outgoing.end(body);
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    answer.resume();
    await once(answer, 'end');
    if ((answer.statusCode ?? 500) >= 300) throw new Error(`${method} ${url.pathname}: ${answer.statusCode}`);
    return answer;
  }

  /** As most clients do: POST, then PUT. */
  async push(blob: Uint8Array): Promise<void> {
    const { headers } = await this.ask('POST', '/v2/bench/blobs/uploads/');
    const location = headers.location ?? '';
    await this.ask('PUT', `${location}${location.includes('?') ? '&' : '?'}digest=${sha256(blob)}`, blob);
  }

  close(): void {
    this.#agent.destroy();
  }
}

async function timed<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<number> {
  const open = [...items];
  const start = performance.now();
  const clients = Array.from({ length: CLIENTS }, async () => {
    for (let item = open.pop(); item !== undefined; item = open.pop()) await work(item);
  });
  await Promise.all(clients);
  return (performance.now() - start) / 1000;
}

type Times = Record<string, number>;

async function measure(start: (folder: string) => Promise<Server>, folder: string): Promise<Times> {
  const server = await start(join(folder, 'store'));
  const client = new Client(server.host);
  const times: Times = {};
  try {
    for (const { size, count } of BLOBS) {
      const blobs = Array.from({ length: count }, () => randomBytes(size));
      const unit = (seconds: number) => (size > 1_000_000 ? (size * count) / 1e6 / seconds : count / seconds);
      const name = size > 1_000_000 ? 'MB/s of 4 MB blobs' : 'blobs/s of 10 kB';
      times[`push, ${name}`] = unit(await timed(blobs, (blob) => client.push(blob)));
      times[`pull, ${name}`] = unit(await timed(blobs, (blob) => client.ask('GET', `/v2/bench/blobs/${sha256(blob)}`)));
      if (size > 1_000_000) continue;
      const asked = Array.from({ length: HEADS }, () => blobs).flat();
      const digests = new Map(blobs.map((blob) => [blob, sha256(blob)]));
      const seconds = await timed(asked, (blob) => client.ask('HEAD', `/v2/bench/blobs/${digests.get(blob) ?? ''}`));
      times['HEAD, requests/s'] = asked.length / seconds;
    }
    return times;
  } finally {
    client.close();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const rounds = Number(process.argv[2] ?? 3);
const folder = await mkdtemp(join(tmpdir(), 'bkcache-bench-'));
const results = new Map([...SERVERS.keys()].map((name) => [name, [] as Times[]]));
try {
  // Round by round, so that a busy moment of the machine hits all of them.
  for (let round = 0; round < rounds; round++) {
    for (const [name, start] of SERVERS) results.get(name)?.push(await measure(start, join(folder, 'round')));
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
process.stdout.write(`median of ${rounds}, ${CLIENTS} clients\n${''.padEnd(28)}`);
process.stdout.write(`${[...SERVERS.keys()].map((name) => name.padStart(22)).join('')}\n`);
const [first = []] = results.values();
for (const row of Object.keys(first[0] ?? {})) {
  const columns = [...results.values()].map((list) => median(list.map((one) => one[row] ?? Number.NaN)).toFixed(0));
  process.stdout.write(`${row.padEnd(28)}${columns.map((column) => column.padStart(22)).join('')}\n`);
}
