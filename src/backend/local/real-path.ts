import { realpath } from 'node:fs/promises';
import { dirname, join, resolve as resolvePath } from 'node:path';
import { isSystemError } from '../../errors.js';

/** The real path of a folder, of which the last parts need not exist yet. */
export async function realPath(path: string): Promise<string> {
  const absolute = resolvePath(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    const leadsNowhere = isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG');
    if (!leadsNowhere || dirname(absolute) === absolute) throw error;
    return join(await realPath(dirname(absolute)), absolute.slice(dirname(absolute).length).replace(/^[/\\]/, ''));
  }
}
