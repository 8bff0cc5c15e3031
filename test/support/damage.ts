import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { CacheError } from '../../src/errors.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { fixture, FIXTURE_FOLDERS } from './fixtures.js';

/** The folders that are damaged: all caches that BuildKit wrote, but for a bucket, which is no layout. */
export const DAMAGED = FIXTURE_FOLDERS.filter((name) => existsSync(join(fixture(name), 'index.json')));

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
