import { randomUUID } from 'node:crypto';
import { collect } from '../../../bytes/collect.js';
import { CacheError } from '../../../errors.js';
import { decoded } from '../../../net/http/content-encoding.js';
import { onTheWayTo } from '../../../net/http/network-error.js';
import { isTransient, retryAfterOf, TransientError } from '../../../net/http/retry.js';
import { partSize, sendParts, UPLOAD_PART } from '../parts.js';
import { ExpiredUpload } from './cache-service.js';
import type { GhaConnection } from './gha-connection.js';

/** One block blob of Azure, to which an address gives the right to write. */
export interface BlockBlob {
  readonly connection: GhaConnection;
  /** The service that named the address. */
  readonly namedBy: URL;
  readonly url: URL;
  /** Of the entry, for messages. */
  readonly key: string;
  /** Of all bytes. */
  readonly size: number;
}

/** Since which version Azure answers as it does here: the headers of a request without one follow an older protocol. */
const PROTOCOL = { 'x-ms-version': '2020-10-02' };

/**
 * Sends the bytes of a block blob: a small one at once, a large one in blocks, several at a time. A block that fails is
 * sent again alone.
 *
 * @throws ExpiredUpload; CacheError
 */
export async function sendBlocks(
  blob: BlockBlob,
  bytes: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (blob.size < 2 * UPLOAD_PART) {
    await put(blob, {}, await collect(bytes), signal);
    return;
  }
  const writer = randomUUID();
  const ids = await sendParts(bytes, partSize(blob.size), async (body, number) => {
    // All ids of a blob have one length.
    const id = Buffer.from(`${writer}-${`${number}`.padStart(6, '0')}`).toString('base64');
    await put(blob, { comp: 'block', blockid: id }, body, signal);
    return id;
  });
  const list = ids.map((id) => `<Latest>${id}</Latest>`).join('');
  const document = `<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`;
  await put(blob, { comp: 'blocklist' }, Buffer.from(document), signal);
}

async function put(
  { connection, namedBy, url, key }: BlockBlob,
  query: Readonly<Record<string, string>>,
  body: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const purpose = `send ${key}`;
  const at = new URL(url);
  // What is signed stays as it is.
  for (const [name, value] of Object.entries(query)) at.search += `&${name}=${encodeURIComponent(value)}`;
  const kind = query['comp'] === undefined ? { 'x-ms-blob-type': 'BlockBlob' } : {};
  const headers = {
    ...PROTOCOL,
    ...kind,
    'content-type': 'application/octet-stream',
    'content-length': `${body.length}`,
  };
  const backoff = connection.backoff();
  for (;;) {
    signal?.throwIfAborted();
    try {
      const response = await connection.http
        .send({ method: 'PUT', url: at, namedBy, headers, body: once(body), signal })
        .catch(url.host === namedBy.host ? rethrow : onTheWayTo(url.host, connection.name));
      const { status } = response;
      // Reading the answer frees its connection.
      const text = (await collect(decoded(response))).toString();
      if (status >= 200 && status < 300) return;
      const code = /<Code>(\w+)<\/Code>/.exec(text)?.[1] ?? '';
      const message = `${connection.name}: cannot ${purpose}: ${code === '' ? '' : `${code}, `}HTTP ${status} of ${url.host}`;
      const denied = new CacheError('DENIED', message, { side: connection.side });
      if (status === 401 || status === 403) throw new ExpiredUpload(denied);
      if (!isTransient(status)) throw denied;
      throw new TransientError(message, {
        side: connection.side,
        retryAfter: retryAfterOf(response.headers['retry-after']),
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ExpiredUpload) throw error;
      await backoff.wait(connection.describe(error, purpose), signal);
    }
  }
}

function rethrow(error: unknown): never {
  throw error;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield Promise.resolve(bytes);
}
