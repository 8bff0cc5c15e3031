import { collect } from '../../../bytes/collect.js';
import { limited } from '../../../bytes/limited.js';
import { CacheError, type Side } from '../../../errors.js';
import { decoded } from '../../../net/http/content-encoding.js';
import type { HttpClient, HttpResponse } from '../../../net/http/http.js';
import { describeFailure, type ServiceWords } from '../../../net/http/network-error.js';
import { sendRedirected } from '../../../net/http/redirects.js';
import { Backoff, retryAfterOf, type RetryPolicy, TransientError } from '../../../net/http/retry.js';
import { Secrets } from '../../../net/http/secrets.js';
import {
  describeRefusal,
  GhaFailure,
  type GhaRequest,
  isReserved,
  jsonOf,
  notTheService,
  refusalIn,
  SERVICE_WORDS,
} from './gha-error.js';
import type { Pace } from './pace.js';

/** One request with a small answer. */
export interface GhaCall {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly purpose: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Whether it makes an entry, of which a service takes only so many in a minute. */
  readonly makesEntry?: true;
}

/** What a service answered. */
export interface GhaAnswer {
  readonly status: number;
  readonly headers: HttpResponse['headers'];
  /** Undefined for an answer without a body. */
  readonly json: unknown;
}

/** How many requests a service takes still: the headers of GitHub's REST API. */
export interface RequestLimit {
  readonly left: number;
  /** When it takes all again, in milliseconds since 1970. */
  readonly reset: number;
}

/** What a connection is for. */
export interface GhaConnectionSettings {
  readonly http: HttpClient;
  /** The host, for messages. */
  readonly name: string;
  readonly side: Side;
  readonly token: string;
  readonly pace: Pace;
  /** How long one request may wait since the service takes no more of them, in milliseconds. */
  readonly timeout: number;
  readonly policy: RetryPolicy | undefined;
  readonly words?: ServiceWords;
}

/** The largest answer: a page of 100 entries of the REST API has some 50 KB. */
const ANSWER_LIMIT = 4 * 1024 ** 2;

/** Requests to one service of GitHub with a token: paced, and sent again where that may help. */
export class GhaConnection {
  readonly name: string;
  readonly side: Side;
  readonly http: HttpClient;
  readonly secrets = new Secrets();
  /** What the service said last of its limit for requests. */
  limit: RequestLimit | undefined;
  readonly #settings: GhaConnectionSettings;

  constructor(settings: GhaConnectionSettings) {
    this.name = settings.name;
    this.side = settings.side;
    this.http = settings.http;
    this.#settings = settings;
    this.secrets.add(settings.token);
  }

  backoff(): Backoff {
    return new Backoff(this.#settings.policy);
  }

  /** As `ask`, and throws the error of a refusal in words. */
  async request(call: GhaCall, signal: AbortSignal | undefined): Promise<GhaAnswer> {
    try {
      return await this.ask(call, signal);
    } catch (error) {
      throw error instanceof GhaFailure ? error.described : error;
    }
  }

  /**
   * Sends a request, again where that may help.
   *
   * @throws GhaFailure where the service refuses it and the caller is to look why; CacheError
   */
  async ask(call: GhaCall, signal: AbortSignal | undefined): Promise<GhaAnswer> {
    const { pace } = this.#settings;
    const backoff = this.backoff();
    const waiting = { since: Date.now(), timeout: this.#settings.timeout, side: this.side };
    let mayBeDone = false;
    for (;;) {
      signal?.throwIfAborted();
      await (call.makesEntry === true ? pace.entry(waiting, signal) : pace.turn(waiting, signal));
      const outcome = await this.#attempt(call, mayBeDone, signal);
      if (outcome === 'wait') continue;
      if (!(outcome instanceof TransientError)) return outcome;
      // The request may have been done, though its answer did not come.
      mayBeDone = true;
      await backoff.wait(outcome, signal);
    }
  }

  /** The error for a connection that failed. */
  describe(error: unknown, purpose: string): unknown {
    const { words = SERVICE_WORDS } = this.#settings;
    return describeFailure(error, `${this.name}: cannot ${purpose}`, this.side, words);
  }

  /** What a message needs to know of a request. */
  about(purpose: string): GhaRequest {
    return { name: this.name, side: this.side, purpose, secrets: this.secrets };
  }

  /** @returns `wait` where the service has said that it takes no more requests for a time */
  async #attempt(
    call: GhaCall,
    mayBeOwn: boolean,
    signal: AbortSignal | undefined,
  ): Promise<GhaAnswer | TransientError | 'wait'> {
    const { pace } = this.#settings;
    try {
      const { response, body } = await this.#send(call, signal);
      const { status, headers } = response;
      this.limit = limitIn(headers) ?? this.limit;
      if (status >= 200 && status < 300) {
        pace.answered();
        const json = body === '' ? undefined : jsonOf(body);
        if (body !== '' && json === undefined) throw notTheService(this.about(call.purpose), { status, body });
        return { status, headers, json };
      }
      const throttled = waitAskedBy(status, headers);
      if (throttled !== undefined) {
        pace.refused(throttled.wait);
        return 'wait';
      }
      pace.answered();
      const refusal = refusalIn(status, body);
      const described = describeRefusal(refusal, this.about(call.purpose));
      // A key that is reserved is an answer, whatever its status is.
      if (described instanceof TransientError && !isReserved(refusal)) return described;
      throw new GhaFailure(refusal, described, mayBeOwn);
    } catch (error) {
      if (error instanceof GhaFailure || error instanceof CacheError) throw error;
      signal?.throwIfAborted();
      const described = this.describe(error, call.purpose);
      if (described instanceof TransientError) return described;
      throw described;
    }
  }

  async #send(
    { method, url, headers = {}, body, purpose }: GhaCall,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly response: HttpResponse; readonly body: string }> {
    const bytes = body === undefined ? {} : { body: () => once(body) };
    const length = body === undefined ? {} : { 'content-length': `${body.length}` };
    const response = await sendRedirected(
      this.http,
      {
        method,
        url,
        headers: { ...headers, ...length },
        authorization: `Bearer ${this.#settings.token}`,
        ...bytes,
        signal,
      },
      { allowPlain: false, by: this.name, nameOf: ({ host }) => (host === url.host ? undefined : host) },
    );
    const tooLarge = () => new CacheError('UNREACHABLE', `${this.name}: cannot ${purpose}: its answer is too large`);
    return { response, body: (await collect(limited(decoded(response), ANSWER_LIMIT, tooLarge))).toString() };
  }
}

/**
 * Whether a service refuses a request since there were too many: 429, and GitHub's REST API also with 403. The wait is in
 * milliseconds, where the answer has one.
 */
function waitAskedBy(
  status: number,
  headers: HttpResponse['headers'],
): { readonly wait: number | undefined } | undefined {
  const asked = retryAfterOf(headers['retry-after']);
  const isUsedUp = headers['x-ratelimit-remaining'] === '0';
  if (status !== 429 && !(status === 403 && (asked !== undefined || isUsedUp))) return undefined;
  if (asked !== undefined || !isUsedUp) return { wait: asked };
  const reset = Number(headers['x-ratelimit-reset']) * 1000 - Date.now();
  return { wait: Number.isNaN(reset) ? undefined : Math.max(0, reset) };
}

function limitIn(headers: HttpResponse['headers']): RequestLimit | undefined {
  const [left, reset] = [headers['x-ratelimit-remaining'], headers['x-ratelimit-reset']].map(Number);
  return left === undefined || reset === undefined || Number.isNaN(left) || Number.isNaN(reset)
    ? undefined
    : { left, reset: reset * 1000 };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield Promise.resolve(bytes);
}
