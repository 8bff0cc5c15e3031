/**
 * Copies a cache of 1 GB in 100 layers from a folder to a registry, again when all is there, and back, with bkcache and
 * with what else can do that: skopeo and oras. Each starts with an empty registry, and all come to the same digest.
 *
 *     npm run build && node dist/scripts/bench/registry.js [ROUNDS]
 *
 * $SKOPEO and $ORAS name other programs than those in the path; what is not there is left out. Debian 13 has oras.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startRegistry } from '../../test/support/docker-registry.js';
import { writeCache } from './random-cache.js';
import { median } from './run.js';

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** The commands of a tool; `ref` is a registry's `HOST/REPOSITORY:TAG`. */
interface Tool {
  readonly name: string;
  readonly program: string;
  readonly version: readonly string[];
  readonly push: (folder: string, ref: string) => readonly string[];
  readonly pull: (ref: string, folder: string) => readonly string[];
}

const TOOLS: readonly Tool[] = [
  {
    name: 'bkcache',
    program: process.execPath,
    version: [MAIN, '--version'],
    push: (folder, ref) => [MAIN, 'copy', '--quiet', '--import-cache', folder, '--export-cache', ref],
    pull: (ref, folder) => [MAIN, 'copy', '--quiet', '--import-cache', ref, '--export-cache', folder],
  },
  {
    name: 'skopeo copy',
    program: process.env['SKOPEO'] ?? 'skopeo',
    version: ['--version'],
    push: (folder, ref) => ['copy', '--quiet', '--dest-tls-verify=false', `oci:${folder}:latest`, `docker://${ref}`],
    pull: (ref, folder) => ['copy', '--quiet', '--src-tls-verify=false', `docker://${ref}`, `oci:${folder}:latest`],
  },
  {
    name: 'oras cp',
    program: process.env['ORAS'] ?? 'oras',
    version: ['version'],
    push: (folder, ref) => ['cp', '--no-tty', '--from-oci-layout', `${folder}:latest`, '--to-plain-http', ref],
    pull: (ref, folder) => ['cp', '--no-tty', '--from-plain-http', ref, '--to-oci-layout', `${folder}:latest`],
  },
];

const STEPS = ['push', 'push again', 'pull', 'pull again'] as const;

async function seconds(program: string, args: readonly string[]): Promise<number> {
  const start = performance.now();
  await run(program, args);
  return (performance.now() - start) / 1000;
}

async function measure(tool: Tool, cache: string, folder: string): Promise<number[]> {
  const registry = await startRegistry(join(folder, 'registry'));
  try {
    const ref = `${registry.host}/bench/cache:latest`;
    const out = join(folder, 'out');
    const times: number[] = [];
    for (const args of [tool.push(cache, ref), tool.push(cache, ref), tool.pull(ref, out), tool.pull(ref, out)]) {
      times.push(await seconds(tool.program, args));
    }
    const digest = async (from: string) =>
      (await run(process.execPath, [MAIN, 'resolve', `type=local,src=${from}`])).stdout.slice(0, 200);
    const [there, back] = await Promise.all([digest(cache), digest(out)]);
    if (/sha256:\w+/.exec(there)?.[0] !== /sha256:\w+/.exec(back)?.[0])
      throw new Error(`${tool.name} changed the cache`);
    return times;
  } finally {
    await registry.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const rounds = Number(process.argv[2] ?? 3);
const folder = await mkdtemp(join(tmpdir(), 'bkcache-bench-'));
try {
  const cache = join(folder, 'cache');
  await writeCache(cache);
  const times = new Map<Tool, number[][]>();
  for (const tool of TOOLS) {
    try {
      const { stdout } = await run(tool.program, tool.version);
      process.stdout.write(`${tool.name}: ${/\d+\.\d+\.\d+/.exec(stdout)?.[0] ?? 'unknown version'}\n`);
      times.set(tool, []);
    } catch {
      process.stdout.write(`${tool.name}: not installed, left out\n`);
    }
  }
  // Round by round, so that a busy moment of the machine hits all of them.
  for (let round = 0; round < rounds; round++) {
    for (const [tool, list] of times) list.push(await measure(tool, cache, join(folder, 'round')));
  }
  process.stdout.write(`\nmedian of ${rounds}, in seconds\n`);
  process.stdout.write(`${''.padEnd(12)}${STEPS.map((step) => step.padStart(12)).join('')}\n`);
  for (const [{ name }, list] of times) {
    const columns = STEPS.map((_, step) => median(list.map((round) => round[step] ?? Number.NaN)).toFixed(2));
    process.stdout.write(`${name.padEnd(12)}${columns.map((column) => column.padStart(12)).join('')}\n`);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
