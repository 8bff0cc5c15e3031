import { CacheError } from '../errors.js';

/**
 * The folder that a verb works on: the folder on the command line, or the store.
 *
 * @throws CacheError USAGE when both are named; NOT_FOUND when no folder is named and the store does not exist
 */
export async function folderOrStore(folder: string | undefined, store: string | undefined): Promise<string> {
  if (folder !== undefined && store !== undefined) {
    throw new CacheError('USAGE', 'both a folder and --store are named', {
      hint: 'leave --store out to work on the folder',
    });
  }
  if (folder !== undefined) return folder;
  const { expectStore, storePath } = await import('../operations/store.js');
  const path = storePath(store);
  await expectStore(path);
  return path;
}
