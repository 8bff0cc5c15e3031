import { CacheError } from '../../errors.js';
import { isLoopback } from '../../oci/reference.js';
import { discard, type HttpClient } from '../http/http.js';
import { isSameService, namedAddress } from '../http/named-address.js';
import { ConnectionError, describeFailure } from '../http/network-error.js';
import { sendRedirected } from '../http/redirects.js';
import { isTransient, type RetryPolicy, retryAfterOf, withRetries } from '../http/retry.js';
import { until } from '../../bytes/until.js';
import { Abilities } from './abilities.js';
import { Authorizer } from './authorizer.js';
import type { FoundCredentials } from './docker-credentials.js';
import { apiHost, findAddress } from './registry-address.js';
import { reasonIn, refusalError, refusalText, statusOf } from './registry-error.js';
import { asGet, type RegistryRequest, type RegistryResponse, type RequestContext, urlOf } from './registry-request.js';

export interface RegistrySettings {
  readonly registry: string;
  /** Whether plain HTTP and certificates that are not trusted are allowed: `registry.insecure=true`. */
  readonly insecure: boolean;
  /** The connections; closed by their owner. */
  readonly http: HttpClient;
  /** Looks up the credentials. Its signal aborts when no request waits for them. */
  readonly lookUp: (signal: AbortSignal) => Promise<FoundCredentials>;
  readonly policy?: RetryPolicy | undefined;
}

/** Statuses that may refuse the method HEAD, and not the request. */
const NO_HEAD: ReadonlySet<number> = new Set([400, 405, 501]);

/**
 * Requests to one registry, with its address, credentials, redirects and retries. Credentials are sent to the registry
 * and to the token server that it names, and to no other host.
 */
export class RegistryClient implements AsyncDisposable {
  readonly registry: string;
  readonly #settings: RegistrySettings;
  readonly #http: HttpClient;
  readonly #authorizer: Authorizer;
  /** Aborts work that several requests wait for. The signal of a single request does not abort it. */
  readonly #closing = new AbortController();
  #base: Promise<URL> | undefined;
  readonly abilities = new Abilities();

  constructor(settings: RegistrySettings) {
    const { registry, http, lookUp } = settings;
    this.registry = registry;
    this.#settings = settings;
    this.#http = http;
    this.#authorizer = new Authorizer({ registry, http, lookUp, allowPlain: this.#allowPlain });
  }

  /**
   * Sends a request, with retries. Where the registry refuses the method HEAD, this and all later HEAD requests become
   * GET requests.
   *
   * @returns a response with a status of 200 to 299 or an accepted status; the caller reads or discards its body
   * @throws CacheError NOT_FOUND for 404, DENIED with the registry's own code and message, or UNREACHABLE; and the errors
   *   of the request's body
   */
  async request(request: RegistryRequest): Promise<RegistryResponse> {
    if (request.method === 'HEAD' && !this.abilities.head) return this.request(asGet(request));
    const { policy } = this.#settings;
    const attempt = () => this.#attempt(request);
    try {
      return await (request.retry === false ? attempt() : withRetries(attempt, { policy, signal: request.signal }));
    } catch (error) {
      if (request.method !== 'HEAD') throw error;
      throw await this.#explained(error, request);
    }
  }

  /**
   * The address that a response names in a header, such as Location.
   *
   * @throws CacheError UNREACHABLE for a header without an address, DENIED for an address that gives up TLS
   */
  addressIn(text: string | undefined, response: RegistryResponse, context: RequestContext): URL {
    try {
      if (text === undefined) throw new CacheError('UNREACHABLE', 'it does not say where to go on');
      return namedAddress(text, response.url, { allowPlain: this.#allowPlain });
    } catch (error) {
      throw this.failure(error instanceof CacheError ? new ConnectionError(error, undefined, true) : error, context);
    }
  }

  /**
   * The error for a failed connection; other errors come back as they are.
   *
   * @param from - the host whose response broke off, if there was a response
   */
  failure(error: unknown, context: RequestContext, from?: URL): unknown {
    const what = `${this.#nameOf(context, from)}: cannot ${context.purpose}`;
    const failure = describeFailure(error, what, context.side);
    // Response headers may repeat a secret of the request: a Location, a range, a coding.
    if (!(failure instanceof CacheError) || !this.#authorizer.isSecret(failure.message)) return failure;
    return failure.saying(`${what}: its answer cannot be used, and is not shown since it repeats a secret`);
  }

  /** For callers that retry by themselves. */
  get policy(): RetryPolicy | undefined {
    return this.#settings.policy;
  }

  /** Ends what no single request could end: the search for the address and for credentials. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#authorizer.close();
    await Promise.resolve();
  }

  async #attempt(request: RegistryRequest): Promise<RegistryResponse> {
    const { accept = [], signal } = request;
    let response: RegistryResponse;
    let bodyError: unknown;
    const body = request.body;
    // An error of the body is not an error of the connection.
    const guarded = body && (() => observed(body(), (error) => (bodyError = error)));
    try {
      const base = await until(this.#home(), signal);
      response = await this.#authorized({ ...request, body: guarded }, base);
    } catch (error) {
      signal?.throwIfAborted();
      if (bodyError !== undefined) throw bodyError;
      const failure = this.failure(error, request);
      throw failure instanceof CacheError ? failure.on(request.side) : failure;
    }
    const { status } = response;
    if ((status >= 200 && status < 300) || accept.includes(status)) return response;
    if (request.method === 'HEAD' && NO_HEAD.has(status)) {
      discard(response);
      const again = await this.#attempt(asGet(request));
      this.abilities.head = false;
      return again;
    }
    throw await this.#refusalIn(response, request);
  }

  /** Sends a request with the known authorization, and a second time after a challenge. */
  async #authorized(request: RegistryRequest, base: URL): Promise<RegistryResponse> {
    const { scopes, signal } = request;
    const url = urlOf(request.target, base);
    const isOwn = isSameService(base, url);
    const authorization = isOwn ? await this.#authorizer.authorization(scopes, signal) : undefined;
    const response = await this.#redirected(request, url, base, authorization);
    if (response.status !== 401 || !isOwn || !isSameService(base, response.url)) return response;
    const header = response.headers['www-authenticate'];
    if (!(await this.#authorizer.challenged(header, authorization, scopes, signal))) return response;
    discard(response);
    return this.#redirected(request, url, base, await this.#authorizer.authorization(scopes, signal));
  }

  #redirected(
    { method, headers, body, timeout, signal }: RegistryRequest,
    url: URL,
    namedBy: URL,
    authorization: string | undefined,
  ): Promise<RegistryResponse> {
    const nameOf = (at: URL) => (this.#isHome(at) ? undefined : `by way of ${at.host}`);
    return sendRedirected(
      this.#http,
      { method, url, namedBy, headers, body, timeout, signal, authorization },
      { allowPlain: this.#allowPlain, nameOf },
    );
  }

  async #refusalIn(response: RegistryResponse, request: RegistryRequest): Promise<CacheError> {
    const { status, headers, url } = response;
    const reason = refusalText(status, await this.#reasonIn(response));
    const message = `${this.#nameOf(request, url)}: cannot ${request.purpose}: ${reason}`;
    const hint = await until(this.#hintFor(status, request), request.signal);
    const retryAfter = retryAfterOf(headers['retry-after']);
    return refusalError(message, { method: request.method, status, retryAfter, side: request.side, hint });
  }

  /** The reason in a refusal. The text of another host is not the registry's, and may be confidential. */
  async #reasonIn(response: RegistryResponse): ReturnType<typeof reasonIn> {
    if (this.#isHome(response.url)) return reasonIn(response, (text) => this.#authorizer.isSecret(text));
    discard(response);
    return undefined;
  }

  /** The error with the registry's reason. The response to HEAD has no body, so the request is sent again with GET. */
  async #explained(error: unknown, request: RegistryRequest): Promise<unknown> {
    const status = statusOf(error);
    if (!(error instanceof CacheError) || status === undefined || status === 404) return error;
    // A refusal with these statuses came from GET already.
    if (NO_HEAD.has(status)) return error;
    const { signal } = request;
    try {
      const response = await this.#authorized(asGet(request), await until(this.#home(), signal));
      if (response.status < 400) {
        discard(response);
        return error;
      }
      const reason = await this.#reasonIn(response);
      return reason?.isFormal === true ? error.saying(`${error.message}: ${reason.text}`) : error;
    } catch {
      signal?.throwIfAborted();
      return error;
    }
  }

  get #allowPlain(): boolean {
    return this.#settings.insecure || isLoopback(this.registry);
  }

  /** The repository, for messages, and the host that answered for the registry, if another. */
  #nameOf({ repository }: RequestContext, from: URL | undefined): string {
    const name = `${this.registry}/${repository}`;
    return from === undefined || this.#isHome(from) ? name : `${name} (by way of ${from.host})`;
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

  /** The address of the registry; found once, and again after a failure. */
  #home(): Promise<URL> {
    this.#base ??= findAddress(this.#settings, this.#http, this.#closing.signal).catch((error: unknown) => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }
}

/** Passes a body on, and reports its error. */
async function* observed(
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
