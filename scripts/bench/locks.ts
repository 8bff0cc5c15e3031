import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { sha256 } from '../../src/oci/digest.js';
import type { Tries } from './lock-prober.js';
import { blobPath } from '../../test/support/folders.js';

// How often a build would meet the lock on index.json while a command of bkcache runs in the same folder, and for how
// long the lock is held: `node dist/scripts/bench/locks.js [--tags 10000] [--main PATH]`. Each command runs once beside
// tries for the exclusive lock, as an export of BuildKit makes them, and once beside tries for the shared one, as an
// import does.

const HERE = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    tags: { type: 'string', default: '10000' },
    garbage: { type: 'string', default: '2000' },
    main: { type: 'string', default: join(HERE, '..', '..', 'src', 'cli', 'main.js') },
    only: { type: 'string', multiple: true },
  },
});

const work = mkdtempSync(join(tmpdir(), 'bkcache-locks-'));
const old = new Date(Date.now() - 24 * 3_600_000);

/** Writes a blob as old as those that gc removes. */
function blob(folder: string, content: string, mediaType: string) {
  const digest = sha256(content);
  const path = blobPath(folder, digest);
  writeFileSync(path, content, { mode: 0o444 });
  utimesSync(path, old, old);
  return { mediaType, digest, size: content.length };
}

/** A cache without layers, which differs from others by one key. */
function cache(folder: string, name: string) {
  const records = [{ digest: sha256(name) }];
  const config = blob(folder, JSON.stringify({ layers: [], records }), 'application/vnd.buildkit.cacheconfig.v0');
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  return blob(folder, JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [] }), mediaType);
}

function makeFolder(path: string): void {
  mkdirSync(join(path, 'blobs', 'sha256'), { recursive: true });
  writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const manifests = Array.from({ length: Number(values.tags) }, (_, number) => ({
    ...cache(path, `tag ${number}`),
    annotations: { 'org.opencontainers.image.ref.name': `branch-${number}` },
  }));
  writeFileSync(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  for (let number = 0; number < Number(values.garbage); number++) cache(path, `garbage ${number}`);
}

const COMMANDS: Readonly<Record<string, (folder: string, other: string) => readonly string[]>> = {
  resolve: (folder) => ['resolve', `type=local,src=${folder},tag=branch-7`],
  'import-args': (folder) => ['import-args', `type=local,src=${folder},tag=branch-7`],
  list: (folder) => ['list', folder],
  inspect: (folder) => ['inspect', `type=local,src=${folder},tag=branch-7`],
  verify: (folder) => ['verify', folder],
  'copy from it': (folder, other) => copyOf(folder, 'branch-7', other, 'copied'),
  'copy into it': (folder, other) => copyOf(other, 'latest', folder, 'new'),
  remove: (folder) => ['remove', 'branch-9', '--store', folder],
  gc: (folder) => ['gc', folder],
  prune: (folder) => ['prune', '--untag', 'branch-1*', folder],
  repair: (folder) => ['repair', folder],
};

function copyOf(from: string, tag: string, to: string, as: string): readonly string[] {
  return [
    'copy',
    '--quiet',
    '--import-cache',
    `type=local,src=${from},tag=${tag}`,
    '--export-cache',
    `type=local,dest=${to},tag=${as}`,
  ];
}

/** Runs a command while another process tries the lock. */
async function measure(args: readonly string[], folder: string, kind: string): Promise<Tries> {
  const prober = spawn(process.execPath, [join(HERE, 'lock-prober.js'), join(folder, 'index.json.lock'), kind], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  const started = new Promise((resolve) => prober.stdout.once('data', resolve));
  prober.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await started;
  const command = spawn(process.execPath, [values.main, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  command.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise((resolve) => command.once('close', resolve));
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${String(code)}: ${stderr}`);
  prober.stdin.end();
  await new Promise((resolve) => prober.once('close', resolve));
  return JSON.parse(output) as Tries;
}

try {
  const made = join(work, 'made');
  makeFolder(made);
  const other = join(HERE, '..', '..', '..', 'fixtures', 'caches', 'max-gzip');
  const names = values.only ?? Object.keys(COMMANDS);
  process.stdout.write(
    `| at ${values.tags} tags | refused to an export | refused to an import | longest hold |\n| --- | --- | --- | --- |\n`,
  );
  for (const name of names) {
    const results: Tries[] = [];
    for (const kind of ['exclusive', 'shared']) {
      const folder = join(work, 'folder');
      cpSync(made, folder, { recursive: true, preserveTimestamps: true });
      const source = join(work, 'other');
      cpSync(other, source, { recursive: true });
      results.push(await measure(COMMANDS[name]?.(folder, source) ?? [], folder, kind));
      for (const path of [folder, source]) rmSync(path, { recursive: true });
    }
    const shares = results.map(({ tries, refused }) => `${refused} of ${tries}`);
    const longest = Math.max(...results.map((result) => result.longest));
    process.stdout.write(`| ${name} | ${shares.join(' | ')} | ${longest.toFixed(1)} ms |\n`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
