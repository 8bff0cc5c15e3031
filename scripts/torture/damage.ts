import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { collectGarbage } from '../../src/operations/gc.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { CacheError } from '../../src/errors.js';
import { prune } from '../../src/operations/prune/prune.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { listCaches } from '../../src/operations/list.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { copyFixture, fixture, FIXTURES, insist } from './folder.js';
import type { Random } from './random.js';

/** The folders that are damaged: all caches that BuildKit wrote, but for a bucket, which is no layout. */
export const DAMAGED = FIXTURES.filter((name) => existsSync(join(fixture(name), 'index.json')));

/**
 * Whether a byte of index.json can change without anybody noticing: in the text of annotations, a tag's name is as good
 * as any other, and a platform, by any name, is nothing that a cache depends on.
 */
export function isFreeText(index: Buffer, at: number): boolean {
  for (const { index: start, 0: field } of index.toString('latin1').matchAll(/"(annotations|platform)":\{[^}]*\}/g)) {
    const begin = start + (field.startsWith('"platform') ? 0 : '"annotations":{'.length);
    if (at >= begin && at < start + field.length - 1) return true;
  }
  return false;
}

/** One change to a folder; undoes itself. */
export interface Damage {
  readonly what: string;
  readonly undo: () => void;
}

export function flip(folder: string, path: string, at: number, mask: number): Damage {
  const file = join(folder, path);
  const bytes = readFileSync(file);
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ mask;
  return replace(file, changed, bytes, `byte ${at} of ${path} xor ${mask}`);
}

export function truncate(folder: string, path: string, size: number): Damage {
  const file = join(folder, path);
  const bytes = readFileSync(file);
  return replace(file, bytes.subarray(0, size), bytes, `${path} cut to ${size} bytes`);
}

function replace(file: string, changed: Buffer, bytes: Buffer, what: string): Damage {
  writeFileSync(file, changed);
  return { what, undo: () => writeFileSync(file, bytes) };
}

export function remove(folder: string, path: string): Damage {
  const file = join(folder, path);
  renameSync(file, join(folder, '..', 'kept'));
  return { what: `${path} removed`, undo: () => renameSync(join(folder, '..', 'kept'), file) };
}

export function swap(folder: string, a: string, b: string): Damage {
  const exchange = () => {
    renameSync(join(folder, a), join(folder, '..', 'kept'));
    renameSync(join(folder, b), join(folder, a));
    renameSync(join(folder, '..', 'kept'), join(folder, b));
  };
  exchange();
  return { what: `${a} and ${b} swapped`, undo: exchange };
}

export function replaceByLink(folder: string, path: string): Damage {
  const { undo } = remove(folder, path);
  symlinkSync(join('..', '..', '..', 'kept'), join(folder, path));
  return {
    what: `${path} replaced by a link`,
    undo() {
      rmSync(join(folder, path));
      undo();
    },
  };
}

export function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => !path.startsWith('.bkcache') && statSync(join(folder, path)).isFile())
    .toSorted();
}

/**
 * Whether verify has anything to say.
 *
 * @param deep - whether layers are unpacked, which wrong documents do not need
 */
export async function isFound(folder: string, deep = true): Promise<boolean> {
  try {
    const { findings } = await verifyFolder(folder, { deep });
    return findings.some(({ message }) => !message.includes('blobs that nothing refers to'));
  } catch (error) {
    if (error instanceof CacheError) return true;
    throw error;
  }
}

/** One random change to a copy of each folder: verify finds it, and nothing else breaks on it. */
export async function damageRound(random: Random, work: string): Promise<Record<string, number>> {
  for (const name of DAMAGED) {
    const folder = join(work, 'damage', name);
    mkdirSync(folder, { recursive: true });
    copyFixture(name, folder);
    const { what, undo } = damageBy(random, folder);
    insist(await isFound(folder), `verify has not found that in ${name} ${what}`);
    await survives(folder, join(work, 'damage', 'out'), `${name} with ${what}`);
    undo();
    rmSync(join(work, 'damage'), { recursive: true });
  }
  return { damage: DAMAGED.length };
}

function damageBy(random: Random, folder: string): Damage {
  const files = filesOf(folder);
  const path = random.pick(files);
  const bytes = readFileSync(join(folder, path));
  const kind = random.below(5);
  const blobs = files.filter((file) => file.startsWith('blobs'));
  if (kind === 0) return truncate(folder, path, random.below(bytes.length));
  // A blob that nothing refers to can go without harm.
  if (kind === 1 && !folder.endsWith('grown')) return remove(folder, path);
  if (kind === 2) {
    const a = random.pick(blobs);
    return swap(folder, a, random.pick(blobs.filter((blob) => blob !== a)));
  }
  if (kind === 3) return replaceByLink(folder, random.pick(blobs));
  const places = [...bytes.keys()].filter((at) => path !== 'index.json' || !isFreeText(bytes, at));
  return flip(folder, path, random.pick(places), 1 << random.below(8));
}

/** Everything else either works on a damaged folder or says why not; nothing is changed in it. */
async function survives(folder: string, out: string, where: string): Promise<void> {
  const acts: Readonly<Record<string, () => Promise<unknown>>> = {
    list: () => listCaches(folder),
    inspect: () => inspectCache(`type=local,src=${folder}`),
    copy: () =>
      copyCache({
        imports: [`type=local,src=${folder}`],
        exports: [`type=local,dest=${out},compression=zstd,force-compression=true`],
      }),
    gc: () => collectGarbage(folder),
    prune: () => prune(folder, { maxSize: 1000, dryRun: true }),
  };
  for (const [name, act] of Object.entries(acts)) {
    try {
      await act();
    } catch (error) {
      insist(error instanceof CacheError, `${name} on ${where}: ${(error as Error).stack ?? String(error)}`);
    }
  }
}
