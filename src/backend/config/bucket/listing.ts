import { CacheError } from '../../../errors.js';
import type { StoredObject } from './object-store.js';

/** One page of a listing. */
export interface ListPage {
  readonly objects: readonly StoredObject[];
  readonly isTruncated: boolean;
  /** What the next page is asked for with. */
  readonly token: string | undefined;
}

/**
 * All pages of a listing, which is proven to be whole: each page leads to the next, none comes twice, and the keys are in
 * the order of their bytes.
 *
 * @param name - of the bucket, for messages
 * @throws CacheError UNREACHABLE
 */
export async function* wholeListing(
  name: string,
  ask: (token: string | undefined) => Promise<ListPage>,
): AsyncGenerator<readonly StoredObject[], void, undefined> {
  const tokens = new Set<string>();
  let last: Buffer | undefined;
  let token: string | undefined;
  for (;;) {
    const page = await ask(token);
    for (const { key } of page.objects) {
      const bytes = Buffer.from(key);
      if (last !== undefined && Buffer.compare(last, bytes) >= 0) throw broken(name, 'its keys are out of order');
      last = bytes;
    }
    yield page.objects;
    if (!page.isTruncated) return;
    token = page.token;
    if (token === undefined || token === '') throw broken(name, 'a page has a next page, and does not say which');
    if (tokens.has(token)) throw broken(name, 'a page leads back to an earlier page');
    tokens.add(token);
  }
}

function broken(name: string, why: string): CacheError {
  return new CacheError('UNREACHABLE', `${name}: its listing is not whole: ${why}`);
}
