import { CacheError } from '../../../errors.js';
import type { StoredObject } from './object-store.js';

/** One page of a listing. */
export interface ListPage {
  readonly objects: readonly StoredObject[];
  readonly isTruncated: boolean;
  /** What the next page is asked for with. */
  readonly token: string | undefined;
}

/** Less than 0 where the first key comes before the second one, 0 for the same key twice. */
type Order = (a: Buffer, b: Buffer) => number;

const SLASH = 0x2f;

/** The order of the bytes, which services of objects have. */
export const byBytes: Order = (a, b) => Buffer.compare(a, b);

/** The order of a service that has folders: all that is in one stands together, so that a slash comes before other bytes. */
export const byFolders: Order = (a, b) => byBytes(withFirstSlash(a), withFirstSlash(b));

function withFirstSlash(key: Buffer): Buffer {
  return Buffer.from(key.map((byte) => (byte === SLASH ? 0 : byte)));
}

/**
 * All pages of a listing, which is proven to be whole: each page leads to the next, none comes twice, and the keys are in
 * order.
 *
 * @param name - of the bucket, for messages
 * @param orders - the orders that the service may have: all keys are in one of them
 * @throws CacheError UNREACHABLE
 */
export async function* wholeListing(
  name: string,
  ask: (token: string | undefined) => Promise<ListPage>,
  orders: readonly Order[] = [byBytes],
): AsyncGenerator<readonly StoredObject[], void, undefined> {
  const tokens = new Set<string>();
  let possible = orders;
  let last: Buffer | undefined;
  let token: string | undefined;
  for (;;) {
    const page = await ask(token);
    for (const { key } of page.objects) {
      const bytes = Buffer.from(key);
      const before = last;
      if (before !== undefined) possible = possible.filter((order) => order(before, bytes) < 0);
      if (possible.length === 0) throw broken(name, 'its keys are out of order');
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
