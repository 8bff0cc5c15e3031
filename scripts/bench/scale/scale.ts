import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { table } from '../../../src/report/text/table.js';
import { run } from '../run.js';
import { makeWhole } from './folders.js';
import { type Kind, KINDS, type Work } from './works.js';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
/** The exponent from which a work fails. Linear work has less than 1.05; the rest is for the noise of a machine. */
const LIMIT = 1.15;
/** In bytes; more is marked in the table. */
const MEMORY_LIMIT = 300e6;
/** How often a work is measured that seems to fail: what a process takes of the processor is the least of it. */
const ROUNDS = 3;

/** A work at several sizes of its folder. */
export interface Scaled {
  readonly work: string;
  readonly sizes: readonly number[];
  /** For each size: the time of all processors, in seconds, without what the work takes for a size near 0. */
  readonly cpu: readonly number[];
  /** What the work takes for a size near 0, in seconds. */
  readonly fixed: number;
  /** The `e` of `cpu = c · size^e`. */
  readonly exponent: number;
  /** The most that any size took, in bytes. */
  readonly memory: number;
  readonly fits: boolean;
}

interface Options {
  readonly work: string;
  /** Whether the largest size is left out. */
  readonly small: boolean;
  /** Only works whose name contains this. */
  readonly only: string;
}

/**
 * Measures how the time of each verb grows with what is in a folder, and prints a table.
 *
 * @throws Error when a command fails
 */
export async function measureScale({ work, small, only }: Options): Promise<Scaled[]> {
  const rows: Scaled[] = [];
  for (const kind of KINDS) {
    const works = kind.works.filter(({ name }) => `${kind.name}: ${name}`.includes(only));
    if (works.length === 0) continue;
    const folders = makeFolders(kind, join(work, 'scale', kind.name.replaceAll(/\W+/g, '-')), small);
    for (const one of works) {
      const row = await scaled(kind.name, one, folders, join(work, 'scale'));
      process.stderr.write(`${row.work}: ${row.exponent.toFixed(2)}\n`);
      rows.push(row);
    }
    rmSync(join(work, 'scale'), { recursive: true, force: true });
  }
  process.stderr.write(tableOf(rows));
  return rows;
}

type Folders = ReadonlyMap<number, string>;

function makeFolders({ name, sizes, make, least = 10 }: Kind, folder: string, small: boolean): Folders {
  const folders = new Map<number, string>();
  for (const size of [least, ...(small ? sizes.slice(0, 2) : sizes)]) {
    const path = join(folder, `${size}`);
    folders.set(size, path);
    process.stderr.write(`making ${size} ${name}\n`);
    makeWhole(path, (whole) => make(whole, size));
  }
  return folders;
}

async function scaled(kind: string, work: Work, folders: Folders, scratch: string): Promise<Scaled> {
  const [none = 0, ...sizes] = [...folders.keys()];
  const least = new Map<number, number>();
  let memory = 0;
  for (let round = 1; ; round++) {
    for (const [size, folder] of folders) {
      const { cpu, memory: taken } = await measured(work, folder, size, scratch);
      least.set(size, Math.min(least.get(size) ?? cpu, cpu));
      memory = Math.max(memory, taken);
    }
    const fixed = least.get(none) ?? 0;
    const cpu = sizes.map((size) => Math.max(0.001, (least.get(size) ?? 0) - fixed));
    const exponent = exponentOf(sizes, cpu);
    const fits = exponent <= LIMIT;
    if (fits || round === ROUNDS) return { work: `${kind}: ${work.name}`, sizes, cpu, fixed, exponent, memory, fits };
  }
}

async function measured({ args, changes = false, code = 0 }: Work, folder: string, size: number, scratch: string) {
  const changed = join(scratch, 'changed');
  const out = join(scratch, 'out');
  mkdirSync(scratch, { recursive: true });
  rmSync(changed, { recursive: true, force: true });
  // Commands replace files and never write into one, so that links are as good as copies.
  if (changes) execFileSync('cp', ['-al', folder, changed]);
  const codes = code === 0 ? [0] : [0, code];
  return run(process.execPath, [MAIN, ...args(changes ? changed : folder, out, size)], out, () => undefined, codes);
}

/** The slope of the line through the logarithms. */
export function exponentOf(sizes: readonly number[], times: readonly number[]): number {
  const points = sizes.map((size, at) => [Math.log(size), Math.log(times[at] ?? 0)] as const);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(points.map(([size]) => size)), mean(points.map(([, time]) => time))];
  const slope = points.map(([size, time]) => [(size - x) * (time - y), (size - x) ** 2] as const);
  return mean(slope.map(([both]) => both)) / mean(slope.map(([, square]) => square));
}

function tableOf(rows: readonly Scaled[]): string {
  const head = ['work', 'sizes', 'CPU', 'fixed', 'exponent', 'at most', 'memory'];
  return table(
    head,
    rows.map(({ work, sizes, cpu, fixed, exponent, memory }) => [
      work,
      sizes.join(' / '),
      `${cpu.map((seconds) => seconds.toFixed(2)).join(' / ')} s`,
      `${fixed.toFixed(2)} s`,
      `${exponent.toFixed(2)}${exponent > LIMIT ? ' !' : ''}`,
      LIMIT.toFixed(2),
      `${(memory / 1e6).toFixed(0)} MB${memory > MEMORY_LIMIT ? ' !' : ''}`,
    ]),
  );
}
