import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { table } from '../../../src/report/text/table.js';
import { makeLayout, makeTars } from '../input.js';
import { median, type Run, run } from '../run.js';
import { makeBlobs, makeTags, makeWhole } from './folders.js';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
const HERE = fileURLToPath(new URL('.', import.meta.url));
const BLOBS = 100_000;
const TAGS = 10_000;

/** A verb beside the least that its work could be. */
interface Floor {
  readonly work: string;
  readonly floor: string;
  /** The most that our time may be of the floor's. */
  readonly limit: number;
  readonly folder: string;
  readonly ours: (folder: string) => readonly string[];
  readonly theirs: (folder: string) => readonly [command: string, ...args: string[]];
  /** Whether both change the folder, and get copies therefore. */
  readonly changes?: boolean;
}

/** Medians, in seconds. */
export interface Ratio {
  readonly work: string;
  readonly floor: string;
  readonly ours: { readonly time: number; readonly cpu: number };
  readonly theirs: { readonly time: number; readonly cpu: number };
  readonly ratio: number;
  readonly cpuRatio: number;
  readonly limit: number;
}

interface Options {
  readonly work: string;
  readonly tree: string;
  readonly runs: number;
  /** Only works whose name contains this. */
  readonly only: string;
}

/** Measures verbs beside the least that their work could be, alternately, and prints a table. */
export async function measureFloors({ work, tree, runs, only }: Options): Promise<Ratio[]> {
  const ratios: Ratio[] = [];
  const floors = (await makeFloors(join(work, 'floors'), tree, only)).filter((one) => one.work.includes(only));
  for (const one of floors) {
    process.stderr.write(`${one.work}, against ${one.floor}\n`);
    const [ours, theirs]: [Run[], Run[]] = [[], []];
    // The first pair is not counted: it brings the folder into memory.
    for (let round = 0; round <= runs; round++) {
      const [command, ...args] = one.theirs(prepared(one, work));
      const their = await run(command, args, join(work, 'out'));
      const our = await run(process.execPath, [MAIN, ...one.ours(prepared(one, work))], join(work, 'out'));
      if (round === 0) continue;
      theirs.push(their);
      ours.push(our);
    }
    const taken = (runs: readonly Run[]) => ({
      time: median(runs.map(({ time }) => time)),
      cpu: median(runs.map(({ cpu }) => cpu)),
    });
    const [own, other] = [taken(ours), taken(theirs)];
    const { work: name, floor, limit } = one;
    ratios.push({
      work: name,
      floor,
      ours: own,
      theirs: other,
      limit,
      ratio: own.time / other.time,
      cpuRatio: own.cpu / other.cpu,
    });
  }
  rmSync(join(work, 'changed'), { recursive: true, force: true });
  process.stderr.write(tableOf(ratios));
  return ratios;
}

function prepared({ folder, changes = false }: Floor, work: string): string {
  if (!changes) return folder;
  const changed = join(work, 'changed');
  rmSync(changed, { recursive: true, force: true });
  execFileSync('cp', ['-al', folder, changed]);
  return changed;
}

async function makeFloors(folder: string, tree: string, only: string): Promise<Floor[]> {
  const [blobs, tags] = [join(folder, 'blobs'), join(folder, 'tags')];
  makeWhole(blobs, (path) => makeBlobs(path, BLOBS));
  makeWhole(tags, (path) => makeTags(path, TAGS));
  const script = (name: string, path: string, ...more: readonly string[]) =>
    [process.execPath, join(HERE, name), path, ...more] as const;
  const floors: Floor[] = [
    {
      work: `gc --dry-run of ${BLOBS} blobs`,
      floor: 'mark and sweep',
      limit: 3,
      folder: blobs,
      ours: (path) => ['gc', '--grace', '0', '--dry-run', path],
      theirs: (path) => script('mark-and-sweep.js', path, '--dry-run'),
    },
    {
      work: `gc of ${BLOBS} blobs`,
      floor: 'mark and sweep',
      limit: 3,
      folder: blobs,
      ours: (path) => ['gc', '--grace', '0', path],
      theirs: (path) => script('mark-and-sweep.js', path),
      changes: true,
    },
    {
      work: `verify of ${BLOBS} blobs of 1 kB`,
      floor: 'xargs -P2 sha256sum',
      limit: 1.2,
      folder: blobs,
      ours: (path) => ['verify', '--quiet', path],
      theirs: (path) => ['sh', '-ec', `find '${path}/blobs' -type f -print0 | xargs -0 -P2 -n 5000 sha256sum`],
    },
    {
      work: `list of ${TAGS} tags`,
      floor: 'JSON.parse of their documents',
      limit: 3,
      folder: tags,
      ours: (path) => ['list', path],
      theirs: (path) => script('parse-all.js', path),
    },
  ];
  const deep = 'verify --deep of one layer of 500 MB';
  if (!deep.includes(only)) return floors;
  const { folder: zstd, layers } = await makeLayout(
    join(folder, 'zstd'),
    makeTars(tree, folder, 'big', [500e6]),
    'tar.zst',
  );
  floors.push({
    work: deep,
    floor: 'zstd -dc | sha256sum',
    limit: 1,
    folder: zstd,
    ours: (path) => ['verify', '--quiet', '--deep', path],
    theirs: () => ['sh', '-ec', `zstd -q -dc '${layers[0]?.blob}' | sha256sum`],
  });
  return floors;
}

function tableOf(ratios: readonly Ratio[]): string {
  const seconds = ({ time, cpu }: Ratio['ours']) => [`${time.toFixed(2)} s`, `${cpu.toFixed(2)} s`];
  return table(
    ['work', 'against', 'wall', 'CPU', 'wall of it', 'CPU of it', 'ratio', 'CPU ratio', 'at most'],
    ratios.map(({ work, floor, ours, theirs, ratio, cpuRatio, limit }) => [
      work,
      floor,
      ...seconds(ours),
      ...seconds(theirs),
      `${ratio.toFixed(2)}${ratio > limit ? ' !' : ''}`,
      cpuRatio.toFixed(2),
      limit.toFixed(2),
    ]),
  );
}
