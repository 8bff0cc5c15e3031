import type { HttpClient } from '../../../net/http/http.js';
import { inPieces } from '../../../bytes/pieces.js';
import { collect } from '../../../bytes/collect.js';

/** A request as the official client hands it over (@smithy/types, HttpRequest). */
export interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | string[] | null>> | undefined;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** What a request may take, as the client passes it on. */
export interface SdkHandlerOptions {
  readonly abortSignal?: AbortSignal;
  /** In milliseconds. */
  readonly requestTimeout?: number;
}

/** An answer as the official client reads it. */
export interface SdkAnswer {
  statusCode: number;
  headers: Record<string, string>;
  body: AsyncIterable<Uint8Array> | Uint8Array;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'] as const;
/** How much of a body is written at once, in bytes. */
const PIECE = 256 * 1024;
/**
 * A 200 for a copy or the end of an upload may be an error: S3 sends the status before it has done the work, and spaces while
 * it does it.
 */
const ERROR_BODY = /^\s*(?:<\?xml[^>]*\?>)?\s*<Error[\s>]/;

/**
 * Sends a request of the official client, also those for credentials, over the connections of the operation: with its
 * proxies, certificates and time limits.
 *
 * @throws ConnectionError without a response; the reason of the signal
 */
export async function sendFor(
  http: HttpClient,
  request: SdkRequest,
  options: { readonly abortSignal?: unknown; readonly requestTimeout?: number | undefined },
): Promise<SdkAnswer> {
  const { protocol, hostname, port, headers } = request;
  const method = METHODS.find((known) => known === request.method) ?? 'GET';
  const path = `${request.path}${queryOf(request.query)}`;
  const origin = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`;
  const { status, ...answer } = await http.send({
    method,
    url: new URL(path, origin),
    path,
    headers,
    body: bodyOf(request.body),
    timeout: options.requestTimeout,
    signal: options.abortSignal instanceof AbortSignal ? options.abortSignal : undefined,
  });
  const flat = Object.entries(answer.headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value] as const],
  );
  const known = { statusCode: status, headers: Object.fromEntries(flat) };
  // Only a GET has a body that may be large. All others are read here, which frees their connections.
  if (method === 'GET') return { ...known, body: answer.body };
  const body = await collect(answer.body as AsyncIterable<Uint8Array>);
  const isError = status === 200 && ERROR_BODY.test(body.toString());
  return { ...known, statusCode: isError ? 400 : status, body };
}

function bodyOf(body: unknown): AsyncIterable<Uint8Array> | undefined {
  if (typeof body === 'string') return body === '' ? undefined : once(Buffer.from(body));
  return body instanceof Uint8Array && body.length > 0 ? inPieces(once(body), PIECE) : undefined;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** The query in the form that was signed (@smithy/querystring-builder): sorted, with RFC 3986's escapes. */
function queryOf(query: SdkRequest['query'] = {}): string {
  const parts = Object.keys(query)
    .toSorted()
    .flatMap((name) => {
      const value = query[name];
      if (Array.isArray(value)) return value.map((item) => `${escapeUri(name)}=${escapeUri(item)}`);
      return typeof value === 'string' && value !== '' ? `${escapeUri(name)}=${escapeUri(value)}` : escapeUri(name);
    });
  return parts.length === 0 ? '' : `?${parts.join('&')}`;
}

function escapeUri(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
