import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bkcache, type Outcome, startCommand } from '../../test/support/command.js';
import { fixture } from '../../test/support/fixtures.js';
import { tagsOf } from '../../test/support/folders.js';
import { grownFolder, insist, insistSound } from './folder.js';
import type { Random } from './random.js';

/** The part of a command's time that goes by before it does anything: it takes Node as long to start. */
const STARTED = 0.35;

/** A command that changes a folder, and the tags that it leaves alone. */
interface Victim {
  readonly args: (folder: string) => readonly string[];
  readonly stays: readonly string[];
  readonly prepare?: (folder: string) => void;
}

const copy = (name: string, target: string) => [
  'copy',
  '--quiet',
  '--import-cache',
  `type=local,src=${fixture(name)}`,
  '--export-cache',
  target,
];

export const VICTIMS: Readonly<Record<string, Victim>> = {
  copy: { args: (folder) => copy('max-zstd', `type=local,dest=${folder},tag=new`), stays: ['main', 'feature'] },
  import: {
    args: (folder) => [
      'import',
      'new',
      '--quiet',
      '--store',
      folder,
      '--import-cache',
      `type=local,src=${fixture('max-gzip')}`,
    ],
    stays: ['main', 'feature'],
  },
  convert: {
    args: (folder) => copy('max-gzip', `type=local,dest=${folder},tag=main,compression=zstd,force-compression=true`),
    stays: ['main', 'feature'],
  },
  reset: {
    args: (folder) => copy('min-gzip', `type=local,dest=${folder},tag=main,reset=true`),
    stays: ['main', 'feature'],
  },
  gc: { args: (folder) => ['gc', folder], stays: ['main', 'feature'] },
  prune: { args: (folder) => ['prune', '--max-size', '12kB', '--keep', 'feature', folder], stays: ['main', 'feature'] },
  repair: {
    args: (folder) => ['repair', '--quiet', '--from', `type=local,src=${fixture('grown')},tag=main`, folder],
    stays: ['main', 'feature'],
    prepare: damage,
  },
};

/** A wrong byte in a layer. */
function damage(folder: string): void {
  const blobs = join(folder, 'blobs', 'sha256');
  const name = readdirSync(blobs).find((blob) => readFileSync(join(blobs, blob))[0] === 0x1f) ?? '';
  const bytes = readFileSync(join(blobs, name));
  bytes[40] = (bytes[40] ?? 0) ^ 1;
  rmSync(join(blobs, name));
  writeFileSync(join(blobs, name), bytes);
}

/** Kills each command at a random point, again and again; then looks, and runs it once more. */
export async function killRound(random: Random, work: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [name, { args, stays, prepare }] of Object.entries(VICTIMS)) {
    const folder = join(work, name);
    mkdirSync(folder, { recursive: true });
    grownFolder(folder);
    prepare?.(folder);
    const isDamaged = prepare !== undefined;
    const whole = await duration(folder, args, join(work, 'measured'));
    const delay = (STARTED + random.next() * (1.05 - STARTED)) * whole;
    const outcome = await killed(args(folder), delay);
    const where = `${name}, killed after ${delay.toFixed(0)} ms`;
    if (!isDamaged) await insistSound(folder, stays, where);
    for (const tag of stays) insist(tagsOf(folder).includes(tag), `${where}: the tag ${tag} is gone`);
    const again = await bkcache(args(folder));
    insist(again.code === 0, `${where}: running it again failed: ${again.stderr}`);
    await insistSound(folder, stays, `${where}, and run again`);
    insist(!statSync(folder).isFile(), where);
    counts[`kill ${name}`] = 1;
    if (outcome.signal === 'SIGKILL') counts[`kill ${name}, in time`] = 1;
    rmSync(folder, { recursive: true });
  }
  return counts;
}

/** Runs the command, and kills it after so many milliseconds. */
async function killed(args: readonly string[], delay: number): Promise<Outcome> {
  const { child, outcome } = startCommand(args);
  child.stdin.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), delay);
  return outcome.finally(() => clearTimeout(timer));
}

const durations = new Map<string, number>();

/** How long a command takes when it is left alone, in milliseconds. */
async function duration(folder: string, args: (folder: string) => readonly string[], copyOf: string): Promise<number> {
  const key = args('').join(' ');
  const known = durations.get(key);
  if (known !== undefined) return known;
  cpSync(folder, copyOf, { recursive: true, preserveTimestamps: true });
  const start = performance.now();
  await bkcache(args(copyOf));
  const took = performance.now() - start;
  rmSync(copyOf, { recursive: true });
  durations.set(key, took);
  return took;
}
