import { type Backoff, TransientError } from '../../net/http/retry.js';
import type { Content, ObjectOrigin, Range } from '../../oci/content.js';

/** An answer with bytes of an object. */
export interface ObjectPart {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** The position of its first byte: 0 where the service does not give parts. */
  readonly first: number;
  /** Whether it ends where it was asked to. */
  readonly isPart: boolean;
}

export interface ObjectDownload {
  /** Of the object, in bytes. */
  readonly size: number;
  /**
   * Asks for the bytes from a position on. The reader of the bytes reads them to their end or gives them up.
   *
   * @param end - where the bytes end; undefined for the end of the object
   */
  readonly get: (start: number, end: number | undefined, signal: AbortSignal | undefined) => Promise<ObjectPart>;
  /** The error for a connection that broke while bytes came. */
  readonly failure: (error: unknown) => unknown;
  readonly backoff: () => Backoff;
  /** The object, for services that copy objects themselves. */
  readonly object?: ObjectOrigin | undefined;
}

/** Bytes of an object, unverified. When a connection breaks, reading goes on with the byte after the last one. */
export function downloadedContent(download: ObjectDownload): Content {
  const { size, object } = download;
  return {
    size,
    ...(object === undefined ? {} : { object }),
    async *open({ start = 0, end = size } = {}, signal) {
      // An empty object has to be there all the same.
      if (start < Math.min(end, size) || (start === 0 && size === 0)) yield* run(download, { start, end }, signal);
    },
  };
}

async function* run(
  { size, get, failure, backoff, object }: ObjectDownload,
  { start, end }: Required<Range>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const retry = backoff();
  // Without an end, a service may send more than it should, and that has to be seen.
  const isWhole = end >= size;
  let at = start;
  for (;;) {
    const part = await get(at, isWhole ? undefined : end, signal);
    let skip = at - part.first;
    try {
      if (skip < 0) {
        // Leaving the loop gives the rest of the body up.
        for await (const _ of part.bytes) break;
        throw new TransientError(`${object?.name ?? 'the service'}: its answer has other bytes than were asked for`, {
          attempts: 3,
        });
      }
      for await (const chunk of part.bytes) {
        const fresh = chunk.subarray(Math.min(skip, chunk.length), isWhole ? undefined : skip + end - at);
        skip -= Math.min(skip, chunk.length);
        at += fresh.length;
        if (fresh.length === 0) continue;
        retry.reached(at - start);
        yield fresh;
        // A part is read to its end, which frees its connection.
        if (!isWhole && at >= end && !part.isPart) return;
      }
      // A shorter object ends here on every attempt: the check of the size reports it.
      return;
    } catch (error) {
      signal?.throwIfAborted();
      if (at >= end && at > start) return;
      const described = failure(error);
      if (!(described instanceof TransientError)) throw described;
      await retry.wait(described, signal);
    }
  }
}
