import type { IncomingHttpHeaders } from 'node:http';
import { CacheError, type CacheErrorOptions, type Side } from '../../errors.js';
import { isLoopback } from '../../oci/reference.js';
import { Abilities } from './abilities.js';
import { Authorizer } from './authorizer.js';
import { decoded } from '../http/content-encoding.js';
import type { FoundCredentials } from './docker-credentials.js';
import { discard, HttpClient, type HttpRequest } from '../http/http.js';
import { isSameService, namedAddress } from '../http/named-address.js';
import { ConnectionError, describeFailure } from '../http/network-error.js';
import { type RedirectedResponse, sendRedirected } from '../http/redirects.js';
import { apiHost, findAddress } from './registry-address.js';
import { reasonIn, refusalText } from './registry-error.js';
import { isTransient, withRetries, type RetryPolicy, retryAfterOf, TransientError } from '../http/retry.js';
import { until } from '../http/until.js';

export interface RegistrySettings {
  readonly registry: string;
  /** Plain HTTP, and certificates that nobody vouches for, are fine: `registry.insecure=true`. */
  readonly insecure: boolean;
  /** A PEM file with certificates to trust beside the system's. */
  readonly ca?: string | undefined;
  /** @param signal - aborts when nobody waits for them any more */
  readonly lookUp: (signal: AbortSignal) => Promise<FoundCredentials>;
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
  /** Makes the body again for every attempt. */
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

export type RegistryResponse = RedirectedResponse;

/** Statuses that refuse HEAD and not what is asked with it. */
const NO_HEAD: ReadonlySet<number> = new Set([400, 405, 501]);

/** What a request was for, for messages. */
export type Asked = Pick<RegistryRequest, 'repository' | 'purpose' | 'side'>;

/** Why a request failed that was refused. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

/** The status of the answer that an error is about; undefined when there was none. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof CacheError && error.cause instanceof Refused ? error.cause.status : undefined;
}

/**
 * Requests to one registry: where it is, credentials, redirects, and backoff. Credentials go to the registry and the
 * token server that it names, and nowhere else.
 */
export class RegistryClient {
  readonly registry: string;
  readonly #settings: RegistrySettings;
  readonly #http: HttpClient;
  readonly #authorizer: Authorizer;
  /** Ends what several requests wait for; no single one of them does. */
  readonly #closing = new AbortController();
  #base: Promise<URL> | undefined;
  /** What it turned out not to do. */
  readonly abilities = new Abilities();

  constructor(settings: RegistrySettings) {
    const { registry, insecure, ca, lookUp } = settings;
    this.registry = registry;
    this.#settings = settings;
    this.#http = new HttpClient({ ca, verify: !insecure });
    this.#authorizer = new Authorizer({ registry, http: this.#http, lookUp, allowPlain: this.#allowPlain });
  }

  /**
   * Sends a request until it is answered, and no longer than it makes sense.
   *
   * A HEAD that is refused as such is asked again with GET, and so are those after it.
   *
   * @returns an answer with a status of 200 to 299 or one that is accepted; its body has to be read or discarded
   * @throws CacheError NOT_FOUND for 404, DENIED with the registry's own code and message, or UNREACHABLE; and what the
   *   body throws
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
   * Asks for a document, and reads all of it.
   *
   * @param limit - the most that it may have, in bytes
   * @returns the answer that it came with, and undefined in the place of bytes where that is accepted and no success
   * @throws CacheError as `request` does, UNREACHABLE for one that is too large
   */
  async document(
    request: RegistryRequest,
    limit: number,
  ): Promise<{ readonly response: RegistryResponse; readonly bytes: Buffer | undefined }> {
    const { policy } = this.#settings;
    const read = async () => {
      const response = await this.request({ ...request, retry: false });
      if (response.status >= 200 && response.status < 300) {
        return { response, bytes: await this.#readAll(response, request, limit) };
      }
      discard(response);
      return { response, bytes: undefined };
    };
    return withRetries(read, { policy, signal: request.signal });
  }

  /**
   * The address that an answer names in a header, such as Location.
   *
   * @throws CacheError UNREACHABLE when there is none, DENIED for one that is not to be followed
   */
  addressIn(text: string | undefined, response: RegistryResponse, request: Asked): URL {
    try {
      if (text === undefined) throw new CacheError('UNREACHABLE', 'it does not say where to go on');
      return namedAddress(text, response.url, { allowPlain: this.#allowPlain });
    } catch (error) {
      throw this.failure(error instanceof CacheError ? new ConnectionError(error, undefined, true) : error, request);
    }
  }

  /**
   * The error for a connection that broke; anything else comes back as it is.
   *
   * @param from - where the answer came from that broke off, if there was one
   */
  failure(error: unknown, { repository, purpose, side }: Asked, from?: URL): unknown {
    const where = `${this.registry}/${repository}`;
    const place = from === undefined || this.#isHome(from) ? where : `${where} (by way of ${from.host})`;
    const what = `${place}: cannot ${purpose}`;
    const failure = describeFailure(error, what, side);
    // Headers repeat what they were sent, too: a Location, a range, a coding.
    if (!(failure instanceof CacheError) || !this.#authorizer.isSecret(failure.message)) return failure;
    return failure.saying(`${what}: its answer cannot be used, and is not shown since it repeats a secret`);
  }

  /** How often a caller that repeats by itself should do that. */
  get policy(): RetryPolicy | undefined {
    return this.#settings.policy;
  }

  close(): Promise<void> {
    this.#closing.abort();
    this.#authorizer.close();
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
    throw await this.#refusal(response, request);
  }

  /** All bytes of an answer. */
  async #readAll(response: RegistryResponse, request: Asked, limit: number): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      for await (const chunk of decoded(response)) {
        size += chunk.length;
        if (size > limit) break;
        chunks.push(chunk);
      }
    } catch (error) {
      throw this.failure(error, request, response.url);
    }
    if (size <= limit) return Buffer.concat(chunks);
    const tooLarge = new CacheError('UNREACHABLE', `its answer has over ${limit} bytes`);
    throw this.failure(new ConnectionError(tooLarge, undefined, true), request, response.url);
  }

  /** Sends a request with what is known of the credentials, and once more when the registry asks for others. */
  async #authorized(request: RegistryRequest, base: URL): Promise<RegistryResponse> {
    const { scopes, signal } = request;
    const url = targetOf(request.target, base);
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

  async #refusal(response: RegistryResponse, request: RegistryRequest): Promise<CacheError> {
    const { status, headers, url } = response;
    const name = `${this.registry}/${request.repository}`;
    const where = this.#isHome(url) ? name : `${name} (by way of ${url.host})`;
    const message = `${where}: cannot ${request.purpose}: ${refusalText(status, await this.#reasonIn(response))}`;
    const hint = await until(this.#hintFor(status, request), request.signal);
    const options: CacheErrorOptions = { side: request.side, hint, cause: new Refused(status) };
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

  /** What another host says is not the registry's, and may be about what only that one is to know. */
  async #reasonIn(response: RegistryResponse): ReturnType<typeof reasonIn> {
    if (this.#isHome(response.url)) return reasonIn(response, (text) => this.#authorizer.isSecret(text));
    discard(response);
    return undefined;
  }

  /** A refusal of HEAD has no body; the reason is in that of the same question with GET. */
  async #explained(error: unknown, request: RegistryRequest): Promise<unknown> {
    const status = statusOf(error);
    if (!(error instanceof CacheError) || status === undefined || status === 404) return error;
    // That came from GET already.
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

  /** Whether plain HTTP is fine. */
  get #allowPlain(): boolean {
    return this.#settings.insecure || isLoopback(this.registry);
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
  #home(): Promise<URL> {
    this.#base ??= findAddress(this.#settings, this.#http, this.#closing.signal).catch((error: unknown) => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }
}

/** The same question, with as little of an answer as possible. */
function asGet(request: RegistryRequest): RegistryRequest {
  const range = String(request.target).includes('/blobs/') ? { range: 'bytes=0-0' } : {};
  return { ...request, method: 'GET', headers: { ...request.headers, ...range } };
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
