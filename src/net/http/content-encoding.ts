import type { IncomingHttpHeaders } from 'node:http';
import { pipeline, type Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { CacheError } from '../../errors.js';
import type { HttpResponse } from './http.js';
import { ConnectionError } from './network-error.js';

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
};

/** The content codings in the headers of a response (RFC 9110, 8.4), in the order in which they were applied. */
export function codingsOf(headers: IncomingHttpHeaders): string[] {
  return (headers['content-encoding'] ?? '')
    .split(',')
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== '' && coding !== 'identity');
}

/**
 * The bytes of a response, decoded. Some servers apply content codings that the request did not ask for.
 *
 * @throws ConnectionError for an unknown coding
 */
export async function* decoded({
  headers,
  body,
}: Pick<HttpResponse, 'headers' | 'body'>): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes: Readable = body;
  for (const coding of codingsOf(headers).toReversed()) {
    const make = Object.hasOwn(DECODERS, coding) ? DECODERS[coding] : undefined;
    if (make === undefined) {
      bytes.destroy();
      const message = `its answer comes in the coding ${JSON.stringify(coding)}, which was not asked for`;
      throw new ConnectionError(new CacheError('UNREACHABLE', message), undefined, true);
    }
    // Errors reach the reader through the last stream.
    bytes = pipeline(bytes, make(), () => undefined);
  }
  yield* bytes as AsyncIterable<Uint8Array>;
}
