import { CacheError } from '../errors.js';

/**
 * The folder that a verb is to work on: the one that is named, or the store.
 *
 * @throws CacheError USAGE when both are named, NOT_FOUND when there is no store, and no folder is named
 */
export async function folderOrStore(folder: string | undefined, store: string | undefined): Promise<string> {
  if (folder !== undefined && store !== undefined) {
    throw new CacheError('USAGE', 'a folder and --store are named, and only one of the two can be meant', {
      hint: 'leave --store out to work on the folder',
    });
  }
  if (folder !== undefined) return folder;
  const { expectStore, storePath } = await import('../operations/store.js');
  const path = storePath(store);
  await expectStore(path);
  return path;
}
