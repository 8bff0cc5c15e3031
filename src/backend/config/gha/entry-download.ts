import { CacheError } from '../../../errors.js';
import { discard, type HttpResponse } from '../../../net/http/http.js';
import { sendRedirected } from '../../../net/http/redirects.js';
import { isTransient, retryAfterOf, TransientError } from '../../../net/http/retry.js';
import type { Content } from '../../../oci/content.js';
import { downloadedContent, type ObjectPart } from '../object-download.js';
import type { CacheEntry } from './cache-service.js';
import type { GhaConnection } from './gha-connection.js';
import { lostEntry } from './gha-error.js';

/** An entry to read, and how its address is asked for. */
export interface Download {
  readonly connection: GhaConnection;
  /** The address of the service. */
  readonly base: URL;
  /** What it is, for messages. */
  readonly what: string;
  /** In bytes. */
  readonly size: number;
  /**
   * The entry; undefined where the service has it no more.
   *
   * @param old - asks again, since the address of this one does not count any more
   */
  find(old: CacheEntry | undefined, signal: AbortSignal | undefined): Promise<CacheEntry | undefined>;
}

/** The bytes of an entry, unverified. An address that has run out is asked for again. */
export function entryContent(download: Download): Content {
  const { connection, what, size } = download;
  return downloadedContent({
    size,
    get: (start, end, signal) => getPart(download, { start, end }, signal),
    failure: (error) => connection.describe(error, `read ${what}`),
    backoff: () => connection.backoff(),
  });
}

interface Wanted {
  readonly start: number;
  readonly end: number | undefined;
}

async function getPart(download: Download, wanted: Wanted, signal: AbortSignal | undefined): Promise<ObjectPart> {
  const { status, headers, body } = await request(download, wanted, signal);
  const first = /^bytes (\d+)-/.exec(headers['content-range'] ?? '')?.[1];
  return { bytes: body, first: status === 206 ? Number(first ?? wanted.start) : 0, isPart: status === 206 };
}

/**
 * How large an entry is, in bytes, which its first byte tells.
 *
 * @throws CacheError CORRUPT for one that is missing
 */
export async function entrySize(download: Download, signal: AbortSignal | undefined): Promise<number> {
  try {
    const response = await request(download, { start: 0, end: 1 }, signal);
    const { 'content-range': range, 'content-length': length } = response.headers;
    discard(response);
    return Number(/\/(\d+)$/.exec(range ?? '')?.[1] ?? length ?? 0);
  } catch (error) {
    // An empty entry has no first byte.
    if (error instanceof CacheError && error.wrong === 'size') return 0;
    throw error;
  }
}

/** Asks for a part of an entry, again where that may help, and with another address where one has run out. */
async function request(download: Download, wanted: Wanted, signal: AbortSignal | undefined): Promise<HttpResponse> {
  const { connection, what } = download;
  const backoff = connection.backoff();
  let old: CacheEntry | undefined;
  for (;;) {
    const entry = await download.find(old, signal);
    if (entry === undefined) throw lostEntry(connection, `${what} is missing`, 'missing');
    try {
      const response = await send(download, entry, wanted, signal);
      const { status, headers } = response;
      if (status === 200 || status === 206) return response;
      discard(response);
      if (status === 416) throw lostEntry(connection, `${what} is shorter than it should be`, 'size');
      // The address has run out, or the entry was replaced by another of the same key.
      if ((status === 401 || status === 403 || status === 404) && old === undefined) {
        old = entry;
        continue;
      }
      if (status === 404) throw lostEntry(connection, `${what} is missing`, 'missing');
      const message = `${connection.name}: cannot read ${what}: HTTP ${status} of ${entry.url.host}`;
      if (!isTransient(status)) throw new CacheError('DENIED', message, { side: connection.side });
      throw new TransientError(message, {
        side: connection.side,
        retryAfter: retryAfterOf(headers['retry-after']),
      });
    } catch (error) {
      signal?.throwIfAborted();
      await backoff.wait(connection.describe(error, `read ${what}`), signal);
    }
  }
}

function send(
  { connection, base }: Download,
  { url }: CacheEntry,
  { start, end }: Wanted,
  signal: AbortSignal | undefined,
): Promise<HttpResponse> {
  const isPart = start > 0 || end !== undefined;
  return sendRedirected(
    connection.http,
    {
      method: 'GET',
      url,
      namedBy: base,
      headers: isPart ? { range: `bytes=${start}-${end === undefined ? '' : end - 1}` } : {},
      signal,
    },
    { allowPlain: false, by: connection.name, nameOf: ({ host }) => (host === base.host ? undefined : host) },
  );
}
