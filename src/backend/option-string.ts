import { lstat } from 'node:fs/promises';
import { isOptionString } from '../buildkit/values.js';
import { type CacheOptions, type OnNote, optionsBehindPath, parseExport, parseImport } from '../buildkit/options.js';

/**
 * Reads an import string. A path with options behind it is no option string; it is one only if it is the name of
 * something that is there.
 *
 * @param onNote - is told of attributes without effect
 * @throws CacheError USAGE
 */
export async function readImport(text: string, onNote?: OnNote): Promise<CacheOptions> {
  const meant = optionsBehindPath(text, 'import');
  if (meant !== undefined && !(await isThere(text))) throw meant;
  return told(parseImport(text), onNote);
}

/**
 * Reads the name of a place with many caches: a folder, or an import string, whatever that selects there.
 *
 * @param onNote - is told of attributes without effect
 * @throws CacheError USAGE
 */
export async function readPlace(text: string, onNote?: OnNote): Promise<CacheOptions> {
  return isOptionString(text) ? readImport(text, onNote) : { type: 'local', attributes: { src: text } };
}

/**
 * Reads an export string.
 *
 * @param onNote - is told of attributes without effect
 * @throws CacheError USAGE
 */
export function readExport(text: string, onNote?: OnNote): CacheOptions {
  return told(parseExport(text), onNote);
}

function told(options: CacheOptions, onNote: OnNote | undefined): CacheOptions {
  for (const note of options.notes ?? []) onNote?.(note);
  return options;
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
