import { CacheError } from '../errors.js';
import { discard } from '../net/http.js';
import { headerOf } from '../net/registry-client.js';
import { Patience, TransientError } from '../net/retry.js';
import type { Content, Range } from '../oci/content.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';

export interface DownloadOptions {
  /** Of the whole, in bytes. */
  readonly size: number;
  /** The media types that may come. */
  readonly accept?: string;
  /** For messages: the blob or manifest. */
  readonly what: string;
}

/**
 * Bytes at a path of a repository, unverified. When the connection breaks, reading goes on with the byte after the
 * last one that came (RFC 9110, 14: Range), as long as that gets any further.
 */
export function downloadOf(place: RegistryPlace, path: string, options: DownloadOptions): Content {
  return { size: options.size, open: (range, signal) => download(place, path, options, range, signal) };
}

async function* download(
  place: RegistryPlace,
  path: string,
  { size, accept, what }: DownloadOptions,
  { start = 0, end = size }: Range = {},
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { client } = place;
  const purpose = `read ${what}`;
  const patience = new Patience(client.policy);
  // Without a range, a server may send more than it should, and that has to be seen.
  const isWhole = end >= size;
  // No range has no bytes in it, but an empty blob has to be there all the same.
  if (start >= Math.min(end, size) && start > 0) return;
  let answered: URL | undefined;
  for (let at = start; ;) {
    try {
      const from = at;
      const response = await client.request({
        ...requestTo(place, path),
        method: 'GET',
        purpose,
        headers: {
          ...(accept === undefined ? {} : { accept }),
          ...(from > 0 || !isWhole ? { range: `bytes=${from}-${isWhole ? '' : end - 1}` } : {}),
        },
        accept: [404, 416],
        signal,
      });
      answered = response.url;
      if (response.status === 404 || response.status === 416) {
        discard(response);
        throw gone(place, what, response.status);
      }
      // A server that knows no ranges starts anew: what was there before is skipped.
      let skip = from - firstByteOf(response.status, response.headers['content-range'], from, place, what);
      for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
        const fresh = chunk.subarray(Math.min(skip, chunk.length), isWhole ? undefined : skip + end - at);
        skip -= Math.min(skip, chunk.length);
        at += fresh.length;
        if (fresh.length > 0) {
          patience.reached(at - start);
          yield fresh;
        }
        if (!isWhole && at >= end) return;
      }
      // A length that the answer itself has wrong would come again and again; whoever checks the size says so.
      if (at >= end || headerOf(response.headers, 'content-length') !== undefined) return;
      throw new TransientError(`${nameOf(place)}: cannot ${purpose}: it ended after ${at} of ${size} bytes`, {
        side: place.side,
      });
    } catch (error) {
      signal?.throwIfAborted();
      // All that was asked for is here, and only the end of the connection was not in order.
      if (at >= end && at > start) return;
      await patience.wait(client.failure(error, { ...place, purpose }, answered), signal);
    }
  }
}

function firstByteOf(status: number, range: string | undefined, asked: number, place: RegistryPlace, what: string) {
  if (status !== 206) return 0;
  const first = Number(/^bytes (\d+)-/.exec(range ?? '')?.[1] ?? Number.NaN);
  if (first === asked) return first;
  throw new CacheError(
    'UNREACHABLE',
    `${nameOf(place)}: ${what} was asked from byte ${asked}, and came as ${range ?? '?'}`,
    {
      side: place.side,
    },
  );
}

function gone(place: RegistryPlace, what: string, status: number): CacheError {
  const reason = status === 404 ? 'is missing' : 'is shorter than it should be';
  return new CacheError('CORRUPT', `${nameOf(place)}: ${what} ${reason}`, {
    hint: 'the cache is incomplete, perhaps since the registry cleaned up; export it anew',
    side: place.side,
    wrong: status === 404 ? 'missing' : 'size',
  });
}
