import { spawn } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CacheError } from '../../src/errors.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'dist', 'src', 'cli', 'main.js');

// In milliseconds, on a machine with much else to do.
const PATIENCE = 30_000;

/** The names of all fixtures. */
export const FIXTURES = readdirSync(join(ROOT, 'fixtures', 'caches')).toSorted();

/** A cache that BuildKit wrote. */
export function fixture(name: string): string {
  return join(ROOT, 'fixtures', 'caches', name);
}

/** A copy of a fixture that may be changed, without what those who read the fixture at the same time have in it. */
export function copyFixture(name: string, folder: string): void {
  for (const part of ['oci-layout', 'index.json', 'blobs']) {
    cpSync(join(fixture(name), part), join(folder, part), { recursive: true });
  }
}

/** Fails the torture, with everything that is needed to look into it. */
export function insist(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** Insists that something works, or fails with an error that is meant for people, and soon. */
export async function expectCacheError(act: () => Promise<unknown>, where: string): Promise<void> {
  const start = performance.now();
  try {
    await act();
  } catch (error) {
    insist(error instanceof CacheError, `${where}: ${(error as Error).stack ?? String(error)}`);
  }
  insist(performance.now() - start < PATIENCE, `${where}: it took ${performance.now() - start} ms`);
}

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
  readonly stdout: string;
}

/** Runs the command; with a delay, it is killed after so many milliseconds. */
export function bkcache(args: readonly string[], killAfter?: number): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter);
    child.on('error', reject).on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ...output });
    });
  });
}

/** A folder with two tags, and older blobs that nothing refers to. */
export function grownFolder(folder: string): void {
  copyFixture('grown', folder);
  const old = new Date(Date.now() - 3 * 3_600_000);
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' }))
    utimesSync(join(folder, path), old, old);
}

/** The tags of a folder, and the manifests that they name. */
export function tagsOf(folder: string): ReadonlyMap<string, string> {
  const { manifests } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
    manifests: { digest: string; annotations?: Record<string, string> }[];
  };
  return new Map(
    manifests.map(({ digest, annotations = {} }) => [annotations['org.opencontainers.image.ref.name'] ?? '', digest]),
  );
}

/** Insists that a folder is sound, and has some tags. */
export async function insistSound(folder: string, tags: readonly string[], where: string): Promise<void> {
  const { findings } = await verifyFolder(folder, { deep: true });
  const wrong = findings.filter(({ severity }) => severity === 'corrupt');
  insist(wrong.length === 0, `${where}: ${JSON.stringify(wrong)}`);
  const there = tagsOf(folder);
  for (const tag of tags) insist(there.has(tag), `${where}: the tag ${tag} is gone`);
}
