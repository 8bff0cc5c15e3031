/**
 * Copies a cache of 1 GB in 100 layers from a folder to a bucket, again when all is there, and back, with bkcache and with
 * `rclone copy`, in S3, and counts their requests.
 *
 *     npm run build && node dist/scripts/bench/objects.js [ROUNDS]
 *
 * The server is s3rver: it neither encrypts nor replicates, and spends the same on the same bytes, whoever sends them. It
 * shares the processors with the client, so that the time of the client's own processor is printed beside
 * the time that a user waits. Requests are counted in a round of their own, by a proxy that the other rounds do without.
 * rclone is Debian's (apt-get install rclone); it takes no AWS_CA_BUNDLE, and this leaves that out. Azure is not measured: that
 * release of rclone reaches an emulator at one port only.
 */
import { createServer, request } from 'node:http';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { table } from '../../src/report/text/table.js';
import { startBucketService } from '../../test/support/bucket-services.js';
import { writeCache } from './random-cache.js';
import { median, run } from './run.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const STEPS = ['up', 'up again', 'down', 'down again'] as const;

interface Tool {
  readonly name: string;
  /** The commands of the steps; `at` is the option string of a bucket. */
  readonly commands: (cache: string, at: string, out: string) => readonly (readonly string[])[];
}

const TOOLS: readonly Tool[] = [
  {
    name: 'bkcache',
    commands(cache, at, out) {
      const copy = (from: string, to: string) => [
        process.execPath,
        MAIN,
        'copy',
        '--quiet',
        '--import-cache',
        from,
        '--export-cache',
        to,
      ];
      return [copy(cache, at), copy(cache, at), copy(at, out), copy(at, out)];
    },
  },
  {
    name: 'rclone copy',
    commands(cache, at, out) {
      const blobs = join(cache, 'blobs/sha256');
      const remote = remoteOf(at);
      const copy = (from: string, to: string) => ['rclone', '--config', '/dev/null', 'copy', from, to];
      return [copy(blobs, remote), copy(blobs, remote), copy(remote, out), copy(remote, out)];
    },
  },
];

/** What rclone calls a bucket, without a file of settings. */
function remoteOf(at: string): string {
  const pairs = at.split(',').map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]);
  const given = Object.fromEntries(pairs) as Readonly<Record<string, string>>;
  const keys = `access_key_id=${given['access_key_id']},secret_access_key=${given['secret_access_key']}`;
  return `:s3,provider=Other,force_path_style=true,endpoint='${given['endpoint_url']}',${keys}:${given['bucket']}/blobs`;
}

/** A proxy in front of a server, that counts what passes. */
async function countingProxy(host: string) {
  const counts = new Map<string, number>();
  const [hostname, port] = host.split(':');
  const server = createServer((asked, answer) => {
    const { method = '', url: path, headers } = asked;
    counts.set(method, (counts.get(method) ?? 0) + 1);
    const sent = request({ hostname, port, method, path, headers }, (got) => {
      answer.writeHead(got.statusCode ?? 500, got.headers);
      got.pipe(answer);
    });
    sent.on('error', () => answer.destroy());
    asked.pipe(sent);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    take() {
      const text = [...counts].map(([method, count]) => `${count} ${method}`).join(', ');
      counts.clear();
      return text;
    },
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}

interface Step {
  readonly times: number[];
  readonly cpus: number[];
  requests: string;
}

async function measure(folder: string, cache: string, rounds: number): Promise<string[][]> {
  const server = await startBucketService('s3', join(folder, 's3'), AbortSignal.timeout(3_600_000));
  const steps = new Map<string, Step>();
  // Round by round, so that a busy moment of the machine hits both. The last one goes through the proxy.
  for (let round = 0; round <= rounds; round++) {
    for (const { name, commands } of TOOLS) {
      const proxy = round === rounds ? await countingProxy(server.host) : undefined;
      const at = (await server.bucket()).replace(server.host, proxy?.host ?? server.host);
      const out = join(folder, 'out');
      for (const [index, [program = '', ...args]] of commands(cache, at, out).entries()) {
        const key = `${STEPS[index]}, ${name}`;
        const step = steps.get(key) ?? { times: [], cpus: [], requests: '' };
        steps.set(key, step);
        const { time, cpu } = await run(program, args, join(folder, 'none'));
        if (proxy !== undefined) step.requests = proxy.take();
        else {
          step.times.push(time);
          step.cpus.push(cpu);
        }
      }
      proxy?.stop();
      await rm(out, { recursive: true });
    }
  }
  await server.stop();
  const rows = [...steps].map(([key, { times, cpus, requests }]) => [
    ...key.split(', '),
    `${median(times).toFixed(2)} s`,
    `${median(cpus).toFixed(2)} s`,
    requests,
  ]);
  return STEPS.flatMap((step) => rows.filter(([of]) => of === step));
}

delete process.env['AWS_CA_BUNDLE'];
const rounds = Number(process.argv[2] ?? 3);
const folder = await mkdtemp(join(tmpdir(), 'bkcache-bench-'));
try {
  const cache = join(folder, 'cache');
  await writeCache(cache);
  const rows = await measure(folder, cache, rounds);
  process.stdout.write(table(['step', 'tool', 'waits', 'processor', 'requests'], rows));
} finally {
  await rm(folder, { recursive: true, force: true });
}
