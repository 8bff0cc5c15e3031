import { checkCall } from '../calls.js';
import { abortable, CacheError } from '../errors.js';
import { updateIndex } from '../layout/index/index-file.js';
import { findTag, type LayoutIndex, tagOf, withoutTag } from '../layout/index/index-json.js';
import { openLayout } from '../layout/layout.js';
import { Session, type SessionOptions } from '../session.js';
import { checkCacheName, expectStore } from './store.js';

export interface RemoveOptions extends Pick<SessionOptions, 'layout' | 'signal'> {
  /** Only check that the name is there. */
  readonly dryRun?: boolean;
}

/**
 * Removes a name from the store. Its blobs stay until gc.
 *
 * @throws CacheError NOT_FOUND when there is no such name
 */
export async function removeCache(store: string, name: string, options: RemoveOptions = {}): Promise<void> {
  checkCall('removeCache', { store, name, options });
  const { dryRun = false, signal } = options;
  checkCacheName(name);
  await expectStore(store);
  const withoutName = (index: LayoutIndex) => {
    const left = withoutTag(index, name);
    if (left.manifests.length < index.manifests.length) return dryRun ? index : left;
    const names = index.manifests.map(tagOf).filter((tag) => tag !== undefined);
    const other = findTag(index, name) === undefined ? '' : ' (an image of that name is there, and stays)';
    throw new CacheError('NOT_FOUND', `the store ${store} has no cache named ${JSON.stringify(name)}${other}`, {
      hint: names.length === 0 ? 'it is empty' : `it has: ${names.join(', ')}`,
    });
  };
  await abortable(signal, async () => {
    await using session = new Session(options);
    await using layout = await openLayout(store, session.layout);
    await updateIndex(layout, withoutName, { signal });
  });
}
