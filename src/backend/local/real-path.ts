import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * The real path of a folder, as far as it can be found out: the last parts may be missing, or closed to this user. What is
 * wrong with a path shows when it is opened.
 */
export async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(await realPath(parent), basename(path));
  }
}
