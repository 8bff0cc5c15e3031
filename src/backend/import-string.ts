import { lstat } from 'node:fs/promises';
import { type CacheOptions, optionsBehindPath, parseImport } from '../buildkit/options.js';

/**
 * Reads an import string. A path with options behind it is no option string; it is one only if it is the name of
 * something that is there.
 *
 * @throws CacheError USAGE
 */
export async function readImport(text: string): Promise<CacheOptions> {
  const meant = optionsBehindPath(text, 'import');
  if (meant !== undefined && !(await isThere(text))) throw meant;
  return parseImport(text);
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
