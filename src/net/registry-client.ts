import type { IncomingHttpHeaders } from 'node:http';
import { CacheError, type CacheErrorOptions, type Side } from '../errors.js';
import { isLoopback } from '../oci/reference.js';
import { Authorizer } from './authorizer.js';
import type { FoundCredentials } from './docker-credentials.js';
import { discard, HttpClient, type HttpRequest, type HttpResponse } from './http.js';
import { describeFailure, onTheWayTo } from './network-error.js';
import { apiHost, findAddress } from './registry-address.js';
import { faultOf } from './registry-error.js';
import { isTransient, patiently, type RetryPolicy, retryAfterOf, TransientError } from './retry.js';

export interface RegistrySettings {
  readonly registry: string;
  /** Plain HTTP, and certificates that nobody vouches for, are fine: `registry.insecure=true`. */
  readonly insecure: boolean;
  /** A PEM file with certificates to trust beside the system's. */
  readonly ca?: string | undefined;
  readonly lookUp: () => Promise<FoundCredentials>;
  readonly policy?: RetryPolicy | undefined;
}

export interface RegistryRequest {
  readonly method: HttpRequest['method'];
  /** For messages. */
  readonly repository: string;
  /** A path from `/v2/` on, or an address that the registry named. */
  readonly target: string | URL;
  /** What the token has to allow. */
  readonly scopes: readonly string[];
  /** For messages: what cannot be done when this fails. */
  readonly purpose: string;
  readonly side: Side;
  readonly headers?: Readonly<Record<string, string>>;
  /** Makes the body anew for every attempt. */
  readonly body?: (() => AsyncIterable<Uint8Array>) | undefined;
  readonly timeout?: number;
  /** Statuses beside those from 200 to 299 that the caller understands. */
  readonly accept?: readonly number[];
  /** What to do about a refusal that has nothing to do with credentials. */
  readonly hint?: string | undefined;
  /** False leaves the repeating to the caller. */
  readonly retry?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface RegistryResponse extends HttpResponse {
  /** Where the answer came from, redirects followed. */
  readonly url: URL;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const REDIRECT_LIMIT = 10;

/** Why a request failed that was refused. */
class Refused extends Error {}

/**
 * Requests to one registry: where it is, credentials, redirects, and patience. Credentials go to the registry and the
 * token server that it names, and nowhere else.
 */
export class RegistryClient {
  readonly registry: string;
  readonly #settings: RegistrySettings;
  readonly #http: HttpClient;
  readonly #authorizer: Authorizer;
  #base: Promise<URL> | undefined;

  constructor(settings: RegistrySettings) {
    const { registry, insecure, ca, lookUp } = settings;
    this.registry = registry;
    this.#settings = settings;
    this.#http = new HttpClient({ ca, verify: !insecure });
    const allowPlain = insecure || isLoopback(registry);
    this.#authorizer = new Authorizer({ registry, http: this.#http, lookUp, allowPlain });
  }

  /**
   * Sends a request until it is answered, and no longer than it makes sense.
   *
   * @returns an answer with a status of 200 to 299 or one that is accepted; its body has to be read or discarded
   * @throws CacheError NOT_FOUND for 404, DENIED with the registry's own code and message, or UNREACHABLE; and what the
   *   body throws
   */
  async request(request: RegistryRequest): Promise<RegistryResponse> {
    if (request.retry === false) return this.#attempt(request);
    const { policy } = this.#settings;
    try {
      return await patiently(() => this.#attempt(request), { policy, signal: request.signal });
    } catch (error) {
      throw request.method === 'HEAD' ? await this.#explained(error, request) : error;
    }
  }

  /**
   * The error for a connection that broke; anything else comes back as it is.
   *
   * @param from - where the answer came from that broke off, if there was one
   */
  failure(
    error: unknown,
    { repository, purpose, side }: Pick<RegistryRequest, 'repository' | 'purpose' | 'side'>,
    from?: URL,
  ): unknown {
    const where = `${this.registry}/${repository}`;
    const place = from === undefined || this.#isHome(from) ? where : `${where} (by way of ${from.host})`;
    return describeFailure(error, `${place}: cannot ${purpose}`, side);
  }

  /** How often a caller that repeats by itself should do that. */
  get policy(): RetryPolicy | undefined {
    return this.#settings.policy;
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  async #attempt(request: RegistryRequest): Promise<RegistryResponse> {
    const { accept = [], signal } = request;
    let response: RegistryResponse;
    let bodyError: unknown;
    const body = request.body;
    // What goes wrong with the body is no fault of the connection.
    const guarded = body && (() => caught(body(), (error) => (bodyError = error)));
    try {
      const base = await this.#home(signal);
      response = await this.#authorized({ ...request, body: guarded }, base);
    } catch (error) {
      signal?.throwIfAborted();
      if (bodyError !== undefined) throw bodyError;
      const failure = this.failure(error, request);
      throw failure instanceof CacheError ? failure.on(request.side) : failure;
    }
    const { status } = response;
    if ((status >= 200 && status < 300) || accept.includes(status)) return response;
    throw await this.#refusal(response, request);
  }

  /** Sends a request with what is known of the credentials, and once more when the registry asks for others. */
  async #authorized(request: RegistryRequest, base: URL): Promise<RegistryResponse> {
    const { scopes, signal } = request;
    const url = targetOf(request.target, base);
    const authorization = url.origin === base.origin ? await this.#authorizer.authorization(scopes, signal) : undefined;
    const response = await this.#redirected(request, url, authorization);
    if (response.status !== 401 || response.url.origin !== base.origin) return response;
    const header = response.headers['www-authenticate'];
    if (!(await this.#authorizer.challenged(header, authorization, scopes, signal))) return response;
    discard(response);
    return this.#redirected(request, url, await this.#authorizer.authorization(scopes, signal));
  }

  /** Follows redirects; the authorization stays behind when they lead to another host. */
  async #redirected(
    { method, headers, body, timeout, signal }: RegistryRequest,
    url: URL,
    authorization: string | undefined,
  ): Promise<RegistryResponse> {
    let at = url;
    for (let count = 0; ; count++) {
      const isHome = at.origin === url.origin;
      const sent = { ...headers, ...(isHome && authorization !== undefined ? { authorization } : {}) };
      const sending = this.#http.send({ method, url: at, headers: sent, body: body?.(), timeout, signal });
      const response = await (this.#isHome(at) ? sending : sending.catch(onTheWayTo(`by way of ${at.host}`)));
      const { location } = response.headers;
      const isRead = method === 'GET' || method === 'HEAD';
      if (!isRead || location === undefined || !REDIRECTS.has(response.status) || count >= REDIRECT_LIMIT) {
        return { ...response, url: at };
      }
      discard(response);
      at = new URL(location, at);
    }
  }

  async #refusal(response: RegistryResponse, request: RegistryRequest): Promise<CacheError> {
    const { status, headers, url } = response;
    const { text } = await faultOf(response);
    const name = `${this.registry}/${request.repository}`;
    const where = this.#isHome(url) ? name : `${name} (by way of ${url.host})`;
    const message = `${where}: cannot ${request.purpose}: ${text}${text.startsWith('HTTP') ? '' : ` (HTTP ${status})`}`;
    const hint = await this.#hintFor(status, request);
    const options: CacheErrorOptions = { side: request.side, hint, cause: new Refused(`HTTP ${status}`) };
    if (isTransient(status)) {
      const retryAfter = retryAfterOf(headers['retry-after']);
      return new TransientError(message, { ...options, retryAfter });
    }
    // What is written to may refuse with 404 what it was sent, and then nothing is missing that was asked for.
    const isMissing = status === 404 && (request.method === 'GET' || request.method === 'HEAD');
    if (isMissing) return new CacheError('NOT_FOUND', message, options);
    // What is no refusal either, such as a redirect that leads nowhere, is no answer that can be used.
    return new CacheError(status >= 400 ? 'DENIED' : 'UNREACHABLE', message, options);
  }

  /** A refusal of HEAD has no body; the reason is in that of the same question with GET. */
  async #explained(error: unknown, request: RegistryRequest): Promise<unknown> {
    if (!(error instanceof CacheError) || !(error.cause instanceof Refused) || error.code === 'NOT_FOUND') return error;
    const { headers, target, signal } = request;
    const range = String(target).includes('/blobs/') ? { range: 'bytes=0-0' } : {};
    try {
      const question = { ...request, method: 'GET', headers: { ...headers, ...range } } as const;
      const response = await this.#authorized(question, await this.#home(signal));
      const { text } = await faultOf(response);
      return response.status < 400 || text.startsWith('HTTP') ? error : error.saying(`${error.message}: ${text}`);
    } catch {
      signal?.throwIfAborted();
      return error;
    }
  }

  #isHome({ host, protocol }: URL): boolean {
    return host === new URL(`${protocol}//${apiHost(this.registry)}`).host;
  }

  async #hintFor(status: number, { hint }: RegistryRequest): Promise<string | undefined> {
    if (status === 401 || status === 403) return this.#authorizer.hint();
    if (status === 429)
      return 'the registry limits how much is asked of it; wait, or use fewer at once (--concurrency)';
    return isTransient(status) ? undefined : hint;
  }

  /** Where the registry is; found out once, unless that fails. */
  #home(signal?: AbortSignal): Promise<URL> {
    this.#base ??= findAddress(this.#settings, this.#http, signal).catch((error: unknown) => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }
}

/** A header that stands once. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/**
 * The address that a registry named. Registries behind a proxy that ends TLS tend to name themselves with http, or
 * without their port: an address on the same host is taken to be theirs.
 */
function targetOf(target: string | URL, base: URL): URL {
  const url = new URL(target, base);
  if (url.hostname === base.hostname && url.protocol === 'http:' && base.protocol === 'https:') {
    return new URL(`${url.pathname}${url.search}`, base);
  }
  return url;
}

async function* caught(
  body: AsyncIterable<Uint8Array>,
  onError: (error: unknown) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* body;
  } catch (error) {
    onError(error);
    throw error;
  }
}
