import type { HttpHeaders, HttpOperationResponse, IHttpClient, WebResource } from '@azure/storage-blob';
import type { DefaultAzureCredentialOptions } from '@azure/identity';
import { collect } from '../../../bytes/collect.js';
import { inPieces } from '../../../bytes/pieces.js';
import type { HttpClient, HttpResponse } from '../../../net/http/http.js';

/** How the credentials of the official client send requests. */
type IdentityClient = NonNullable<DefaultAzureCredentialOptions['httpClient']>;
type IdentityRequest = Parameters<IdentityClient['sendRequest']>[0];

/** What both forms of a request have. */
interface SdkRequest {
  readonly url: string;
  readonly method: string;
  readonly body?: unknown;
  readonly timeout: number;
  readonly abortSignal?: unknown;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE'] as const;
/** How much of a body is written at once, in bytes. */
const PIECE = 256 * 1024;
/** Azure may take long to put a large blob together. In milliseconds. */
const COMMIT_TIMEOUT = 600_000;

/**
 * Sends the requests of the official client, also those for credentials, over the connections of the operation: with its
 * proxies, certificates and time limits.
 */
export class AzblobTransport implements IHttpClient {
  readonly #http: HttpClient;
  /** Why bodies broke off, by the signals of their requests: the client replaces the error by one that does not say. */
  readonly #broken = new WeakMap<AbortSignal, Error>();

  constructor(http: HttpClient) {
    this.#http = http;
  }

  /** Why the body of a request broke off, if it did. Each request for a body has a signal of its own. */
  failureOf(signal: AbortSignal): Error | undefined {
    return this.#broken.get(signal);
  }

  async sendRequest(request: WebResource): Promise<HttpOperationResponse> {
    const response = await this.#send(request, request.headers.rawHeaders());
    const headers = request.headers.clone();
    for (const name of headers.headerNames()) headers.remove(name);
    for (const [name, value] of flatHeaders(response)) headers.set(name, value);
    const known: { status: number; headers: HttpHeaders; request: WebResource } = {
      status: response.status,
      headers,
      request,
    };
    if (request.streamResponseStatusCodes?.has(response.status) !== true) {
      return { ...known, bodyAsText: await textOf(response) };
    }
    const { body, headers: given } = response;
    // The client refuses such an answer, and leaves its body alone.
    if (given.etag === undefined || given['content-length'] === undefined) body.destroy();
    const { abortSignal: signal } = request as SdkRequest;
    if (signal instanceof AbortSignal) body.once('error', (error) => this.#broken.set(signal, error));
    return { ...known, readableStreamBody: body };
  }

  /** The same connections for requests that are about credentials. */
  forCredentials(): IdentityClient {
    return {
      sendRequest: async (request: IdentityRequest) => {
        const response = await this.#send(request, request.headers.toJSON());
        const headers = new CredentialHeaders(flatHeaders(response));
        return { status: response.status, headers, request, bodyAsText: await textOf(response) };
      },
    };
  }

  /** @throws ConnectionError without a response; the reason of the signal */
  #send(request: SdkRequest, headers: Readonly<Record<string, string>>): Promise<HttpResponse> {
    const { abortSignal: outer, timeout } = request;
    const url = new URL(request.url);
    const signals = [
      ...(outer instanceof AbortSignal ? [outer] : []),
      ...(timeout > 0 ? [AbortSignal.timeout(timeout)] : []),
    ];
    return this.#http.send({
      method: METHODS.find((known) => known === request.method) ?? 'GET',
      url,
      headers,
      body: bodyOf(request.body),
      timeout: url.searchParams.get('comp') === 'blocklist' ? COMMIT_TIMEOUT : undefined,
      signal: signals.length > 1 ? AbortSignal.any(signals) : signals[0],
    });
  }
}

/** The headers of an answer, in the form that the client for credentials reads. */
class CredentialHeaders extends Map<string, string> {
  override get(name: string): string | undefined {
    return super.get(name.toLowerCase());
  }

  override has(name: string): boolean {
    return super.has(name.toLowerCase());
  }

  toJSON(): Record<string, string> {
    return Object.fromEntries(this);
  }
}

function flatHeaders({ headers }: HttpResponse): (readonly [string, string])[] {
  return Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value] as const],
  );
}

/** Reads a body, which frees its connection. */
async function textOf({ body }: HttpResponse): Promise<string> {
  return (await collect(body as AsyncIterable<Uint8Array>)).toString();
}

function bodyOf(body: unknown): AsyncIterable<Uint8Array> | undefined {
  if (typeof body === 'string') return body === '' ? undefined : once(Buffer.from(body));
  return body instanceof Uint8Array && body.length > 0 ? inPieces(once(body), PIECE) : undefined;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
