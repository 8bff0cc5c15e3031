import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CacheError, isSystemError } from '../../errors.js';
import { bytesOfFile } from '../../layout/files/small-file.js';

/** What the name of the checksum file of a split bundle ends with. */
export const SUMS = '.sha256';
/** The digits of a part, which begin with 001. */
const DIGITS = 3;
const PART = /^(.+)\.(\d{3,6})$/;

/** The path of a part, from 1 on. */
export function partPath(path: string, number: number): string {
  return `${path}.${`${number}`.padStart(DIGITS, '0')}`;
}

/**
 * The files of a bundle in order: one, or the parts that `--split` made, which may be named in any order. Either the parts, the
 * checksum file or the path that the parts begin with stands for all.
 *
 * @throws CacheError USAGE for several bundles; NOT_FOUND that names the parts which are missing; CORRUPT for a part that is
 *   cut short
 */
export async function filesOf(given: readonly string[]): Promise<readonly string[]> {
  const [first = ''] = given;
  const parts = given.filter((path) => !path.endsWith(SUMS));
  const sums = given.find((path) => path.endsWith(SUMS));
  if (sums === undefined && parts.length === 1 && !PART.test(first)) {
    return (await exists(first)) || !(await exists(partPath(first, 1))) ? [first] : filesOf(await partsAt(first));
  }
  const base = sums?.slice(0, -SUMS.length) ?? PART.exec(first)?.[1] ?? '';
  const numbers = new Map(parts.map((path) => [numberOf(path, base), path]));
  if (numbers.size < parts.length) {
    throw new CacheError('USAGE', 'a part of the bundle is named twice', { hint: `name each once: ${base}.*` });
  }
  const listed = await listedParts(sums ?? `${base}${SUMS}`);
  const count = Math.max(listed, ...numbers.keys());
  const paths = Array.from({ length: count }, (_, index) => numbers.get(index + 1) ?? partPath(base, index + 1));
  await refuseLosses(paths, base);
  return paths;
}

/** The number of a part of one bundle. The folders of parts may differ: they may have come on several disks. */
function numberOf(path: string, base: string): number {
  const [, name = '', digits] = PART.exec(path) ?? [];
  if (digits !== undefined && Number(digits) > 0 && basename(name) === basename(base)) return Number(digits);
  throw new CacheError('USAGE', `${path} is not a part of ${basename(base) || 'the same bundle'}`, {
    hint: 'one bundle is unpacked at a time: its file, or all its parts',
  });
}

async function partsAt(base: string): Promise<string[]> {
  const names = await readdir(dirname(base));
  const parts = names.filter((name) => PART.exec(name)?.[1] === basename(base));
  return parts.map((name) => join(dirname(base), name));
}

/** How many parts the checksum file lists; 0 where there is none. */
async function listedParts(path: string): Promise<number> {
  const bytes = await bytesOfFile(path);
  return bytes === undefined
    ? 0
    : bytes
        .toString()
        .split('\n')
        .filter((line) => line !== '').length;
}

async function refuseLosses(paths: readonly string[], base: string): Promise<void> {
  const sizes = new Map<string, number>();
  for (const path of paths) {
    if (await exists(path)) sizes.set(path, (await stat(path)).size);
  }
  const missing = paths.filter((path) => !sizes.has(path));
  if (missing.length > 0) {
    throw new CacheError('NOT_FOUND', `parts of the bundle are missing: ${missing.join(', ')}`, {
      hint: 'fetch them, and name all parts; they may be in different folders',
    });
  }
  // All parts have one size, but for the last one, which may be smaller.
  const [size = 0] = sizes.values();
  for (const [index, path] of paths.entries()) {
    const found = sizes.get(path) ?? 0;
    if (index === paths.length - 1 ? found <= size : found === size) continue;
    throw new CacheError('CORRUPT', `${path} has ${found} bytes, and ${paths[0]} has ${size}: one of them is damaged`, {
      hint: `"sha256sum -c ${base}${SUMS}" tells which one; fetch it again`,
      wrong: 'size',
    });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}
