import type { IncomingHttpHeaders } from 'node:http';
import { CacheError, type CacheErrorOptions, isSystemError, type Side } from '../errors.js';
import { isLoopback } from '../oci/reference.js';
import { Authorizer } from './authorizer.js';
import type { FoundCredentials } from './docker-credentials.js';
import { HttpClient, type HttpRequest, type HttpResponse } from './http.js';
import { describeFailure } from './network-error.js';
import { faultOf } from './registry-error.js';
import { patiently, type RetryPolicy, retryAfterOf, TransientError } from './retry.js';

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
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);
/** Docker Hub's API has another name than the registry: distribution/reference, normalize.go. */
const HUB_API = 'registry-1.docker.io';

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
  #wasReached = false;

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
   * @throws CacheError NOT_FOUND for 404, FAILED with the registry's own code and message, or TransientError; and what
   *   the body throws
   */
  async request(request: RegistryRequest): Promise<RegistryResponse> {
    if (request.retry === false) return this.#attempt(request);
    const { policy } = this.#settings;
    return patiently(() => this.#attempt(request), { policy, signal: request.signal });
  }

  /** The error for a connection that broke; anything else comes back as it is. */
  failure(
    error: unknown,
    { repository, purpose, side }: Pick<RegistryRequest, 'repository' | 'purpose' | 'side'>,
  ): unknown {
    return describeFailure(error, `${this.registry}/${repository}: cannot ${purpose}`, {
      side,
      wasReached: this.#wasReached,
    });
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
      throw this.failure(withSide(error, request.side), request);
    }
    this.#wasReached = true;
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
      const response = await this.#http.send({ method, url: at, headers: sent, body: body?.(), timeout, signal });
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
    const isHome = url.host === (await this.#home()).host;
    const name = `${this.registry}/${request.repository}`;
    const where = isHome ? name : `${name} (by way of ${url.host})`;
    const message = `${where}: cannot ${request.purpose}: ${text}${text.startsWith('HTTP') ? '' : ` (HTTP ${status})`}`;
    const hint = await this.#hintFor(status, request);
    const options: CacheErrorOptions = { side: request.side, hint };
    if (TRANSIENT.has(status)) {
      const retryAfter = retryAfterOf(headers['retry-after']);
      return new TransientError(message, { ...options, retryAfter });
    }
    return new CacheError(status === 404 ? 'NOT_FOUND' : 'FAILED', message, options);
  }

  async #hintFor(status: number, { hint }: RegistryRequest): Promise<string | undefined> {
    if (status === 401 || status === 403) return this.#authorizer.hint();
    if (status === 429)
      return 'the registry limits how much is asked of it; wait, or use fewer at once (--concurrency)';
    return TRANSIENT.has(status) ? undefined : hint;
  }

  /** Where the registry is; found out once, unless that fails. */
  #home(signal?: AbortSignal): Promise<URL> {
    this.#base ??= this.#findBase(signal).catch((error: unknown) => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }

  /**
   * HTTPS, but for registries on this machine and those that are called insecure: these are asked what they speak. A
   * registry on this machine is expected to speak plain HTTP, as Docker and BuildKit do.
   */
  async #findBase(signal: AbortSignal | undefined): Promise<URL> {
    const { registry, insecure } = this.#settings;
    const host = registry === 'docker.io' ? HUB_API : registry;
    const isLocal = isLoopback(registry);
    const [first, second] = [isLocal ? 'http:' : 'https:', isLocal ? 'https:' : 'http:'];
    if (!insecure && !isLocal) return new URL(`https://${host}`);
    const speaks = await this.#speaks(new URL(`${first}//${host}/v2/`), signal);
    return new URL(`${speaks ? first : second}//${host}`);
  }

  async #speaks(url: URL, signal: AbortSignal | undefined): Promise<boolean> {
    try {
      const response = await this.#http.send({ method: 'GET', url, signal });
      discard(response);
      // What servers that expect TLS say to plain HTTP.
      return response.status !== 400;
    } catch (error) {
      signal?.throwIfAborted();
      return url.protocol === 'http:' && isSystemError(error, 'ECONNREFUSED');
    }
  }
}

/** Gives a connection back whose answer nobody reads. */
export function discard({ body }: HttpResponse): void {
  body.on('error', () => undefined).resume();
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

/** The same error, of a certain side. */
function withSide(error: unknown, side: Side): unknown {
  if (!(error instanceof CacheError) || error.side !== undefined) return error;
  const { message, code, hint, cause, expected, found } = error;
  const options = { side, hint, cause, expected, found };
  if (!(error instanceof TransientError)) return new CacheError(code, message, options);
  return new TransientError(message, { ...options, retryAfter: error.retryAfter });
}
