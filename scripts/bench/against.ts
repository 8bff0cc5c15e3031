import { cpSync, existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { table } from '../../src/report/text/table.js';
import { sha256 } from '../../src/oci/digest.js';
import { makeLayout, makeTars } from './input.js';
import { median, type Run, run } from './run.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const FIXTURE = join(ROOT, 'fixtures', 'caches', 'grown');
const MB = 1e6;
/** Blobs of 1 KB that no manifest names, for gc. */
const GARBAGE = 2000;

/** A command of bkcache, which two builds run alternately. */
interface Work {
  readonly name: string;
  readonly args: readonly string[];
  /** A folder that is copied to `out` before each run; the copying is not measured. */
  readonly before?: string;
}

interface Options {
  /** The folder of the other build, as `npm run build` leaves it. */
  readonly against: string;
  readonly runs: number;
  readonly tree: string;
  readonly work: string;
  /** Only works whose name contains this. */
  readonly only?: string | undefined;
}

type Taken = Omit<Run, 'stdout'>;

/** What two builds took for a work; each number belongs to one run. */
interface Compared {
  readonly work: string;
  readonly ours: readonly Taken[];
  readonly theirs: readonly Taken[];
  /** Whether both builds printed the same and wrote the same blobs. */
  readonly same: boolean;
}

/**
 * Measures this build and another one, alternately, at works that take seconds, and prints medians of both.
 *
 * @throws Error when the other folder has no build, or a command fails
 */
export async function measureAgainst({ against, runs, tree, work, only = '' }: Options): Promise<Compared[]> {
  const [ours, theirs] = [mainOf(ROOT), mainOf(resolve(against))];
  const out = join(work, 'out');
  const compared: Compared[] = [];
  for (const one of (await makeWorks(tree, join(work, 'against'), out)).filter(({ name }) => name.includes(only))) {
    process.stderr.write(`${one.name}\n`);
    const [owns, others]: [Taken[], Taken[]] = [[], []];
    let same = true;
    // The first pair is compared, and not counted.
    for (let round = 0; round <= runs; round++) {
      const other = await measured(theirs, one, out);
      const otherBlobs = blobsIn(out);
      const own = await measured(ours, one, out);
      if (round === 0) same = own.stdout === other.stdout && blobsIn(out) === otherBlobs;
      else {
        owns.push(takenBy(own));
        others.push(takenBy(other));
      }
    }
    compared.push({ work: one.name, ours: owns, theirs: others, same });
  }
  rmSync(out, { recursive: true, force: true });
  process.stderr.write(tableOf(compared));
  return compared;
}

function mainOf(folder: string): string {
  const main = join(folder, 'dist', 'src', 'cli', 'main.js');
  if (!existsSync(main)) throw new Error(`there is no build in ${folder}: ${main} is missing`);
  return main;
}

async function makeWorks(tree: string, folder: string, out: string): Promise<Work[]> {
  const sizes = [40, 20, 10, 5, 2, 1, 0.5].map((size) => size * MB);
  const tars = makeTars(tree, folder, 'layer', sizes);
  const [first, second] = [tars.slice(0, 5), [...tars.slice(0, 2), ...tars.slice(5)]];
  const { folder: gzip } = await makeLayout(join(folder, 'gzip'), tars, 'tar.gz');
  const { folder: a } = await makeLayout(join(folder, 'a'), first, 'tar.gz', 6, 'a');
  const { folder: b } = await makeLayout(join(folder, 'b'), second, 'tar.gz', 6, 'b');
  const garbage = join(folder, 'garbage');
  if (!existsSync(garbage)) makeGarbage(gzip, garbage);
  const copy = (options: string, ...imports: readonly string[]) => [
    'copy',
    '--quiet',
    ...imports.flatMap((folder) => ['--import-cache', `type=local,src=${folder}`]),
    '--export-cache',
    `type=local,dest=${out}${options}`,
  ];
  return [
    { name: '--version', args: ['--version'] },
    { name: 'resolve', args: ['resolve', `type=local,src=${FIXTURE},tag=main`] },
    { name: 'list', args: ['list', FIXTURE] },
    { name: 'copy', args: copy('', gzip) },
    { name: 'convert to zstd', args: copy(',compression=zstd,force-compression=true', gzip) },
    { name: 'convert to gzip 1', args: copy(',compression=gzip,compression-level=1,force-compression=true', gzip) },
    { name: 'convert to eStargz', args: copy(',compression=estargz,force-compression=true', gzip) },
    { name: 'merge', args: copy('', a, b) },
    { name: 'verify', args: ['verify', gzip] },
    { name: 'verify --deep', args: ['verify', '--deep', gzip] },
    { name: 'gc', args: ['gc', '--grace', '0', out], before: garbage },
  ];
}

/** A copy of a layout with many blobs that gc deletes. */
function makeGarbage(layout: string, folder: string): void {
  cpSync(layout, `${folder}.new`, { recursive: true });
  for (let count = 0; count < GARBAGE; count++) {
    const text = `${count}`.padStart(1000, 'garbage ');
    writeFileSync(join(`${folder}.new`, 'blobs', 'sha256', sha256(text).slice('sha256:'.length)), text);
  }
  renameSync(`${folder}.new`, folder);
}

function measured(main: string, { args, before }: Work, out: string): Promise<Run> {
  const prepare = before === undefined ? undefined : () => cpSync(before, out, { recursive: true });
  return run(process.execPath, [main, ...args], out, prepare);
}

function takenBy({ time, cpu, memory }: Run): Taken {
  return { time, cpu, memory };
}

function blobsIn(folder: string): string {
  const blobs = join(folder, 'blobs', 'sha256');
  return existsSync(blobs) ? readdirSync(blobs).toSorted().join(' ') : '';
}

function tableOf(compared: readonly Compared[]): string {
  const head = ['work', 'wall', 'other', 'ratio', 'CPU', 'other', 'ratio', 'memory', 'other', 'result'];
  const seconds = (value: number) => `${value.toFixed(3)} s`;
  const rows = compared.map(({ work, ours, theirs, same }) => {
    const pair = (field: 'time' | 'cpu' | 'memory') =>
      [median(ours.map((run) => run[field])), median(theirs.map((run) => run[field]))] as const;
    const [[time, otherTime], [cpu, otherCpu], memory] = [pair('time'), pair('cpu'), pair('memory')];
    return [
      work,
      seconds(time),
      seconds(otherTime),
      (time / otherTime).toFixed(2),
      seconds(cpu),
      seconds(otherCpu),
      (cpu / otherCpu).toFixed(2),
      ...memory.map((bytes) => `${(bytes / MB).toFixed(0)} MB`),
      same ? 'same' : 'differs',
    ];
  });
  return table(head, rows);
}
