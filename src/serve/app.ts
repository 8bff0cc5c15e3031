import { isLocalHost } from './address.js';
import { Access, ALL, NOBODY } from './access.js';
import type { Metrics } from './metrics.js';
import { CHALLENGE, refusal } from './registry/refusals.js';
import { type Answer, type Handler, Refusal, type Request, textAnswer } from './request.js';
import { tokenIn, type Tokens } from './tokens.js';

/** What a server answers, and to whom. */
export interface AppOptions {
  /** Handlers by the beginning of the paths that they answer. */
  readonly routes: readonly (readonly [path: string, Handler])[];
  /** Left out for a server that asks nobody. */
  readonly tokens?: Tokens | undefined;
  /** Whether everybody may read. */
  readonly isPublic: boolean;
  readonly isReadOnly: boolean;
  /** Whether it is for programs of this machine alone, of whom it asks no token. */
  readonly isLocal: boolean;
  readonly metrics: Metrics;
}

/** A request before it is known who sent it. */
export type Incoming = Omit<Request, 'access'>;

/** An answer, and who got it. */
export interface Answered {
  readonly answer: Answer;
  readonly access: Access;
}

const EVERYTHING = new Access('', [{ action: 'write', repositories: [ALL] }]);
const READING = EVERYTHING.readOnly();

/** Says who a request is from and what it may do, and has it answered. */
export class App {
  readonly #options: AppOptions;
  #isStopping = false;

  constructor(options: AppOptions) {
    this.#options = options;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** From now on new requests are refused. */
  stop(): void {
    this.#isStopping = true;
  }

  /** @throws what a handler did not expect */
  async answer(incoming: Incoming): Promise<Answered> {
    let access = NOBODY;
    try {
      if (this.#isStopping) throw stopping();
      if (incoming.path === '/healthz') return { access, answer: textAnswer(200, 'ok') };
      this.#refuseStrangers(incoming);
      access = this.#accessOf(incoming);
      return { access, answer: await this.#route({ ...incoming, access }) };
    } catch (error) {
      if (error instanceof Refusal) return { access, answer: error.answer };
      throw error;
    }
  }

  async #route(request: Request): Promise<Answer> {
    const { path, access } = request;
    if (path === '/metrics') {
      // Numbers of all repositories are for those who may read all.
      if (!access.readsAll) throw access.isSomebody ? forbidden() : unauthorized();
      const { text, contentType } = await this.#options.metrics.page();
      return { status: 200, headers: { 'content-type': contentType }, body: Buffer.from(text) };
    }
    const [, handler] = this.#options.routes.find(([start]) => path === start || path.startsWith(`${start}/`)) ?? [];
    if (handler === undefined) throw nothing();
    return handler(request);
  }

  #accessOf({ headers: { authorization } }: Incoming): Access {
    const { tokens, isPublic, isReadOnly } = this.#options;
    const granted = this.#granted(authorization, tokens) ?? (isPublic ? READING : NOBODY);
    return isReadOnly ? granted.readOnly() : granted;
  }

  #granted(authorization: string | undefined, tokens: Tokens | undefined): Access | undefined {
    if (tokens === undefined) return this.#options.isPublic ? READING : EVERYTHING;
    const token = tokenIn(authorization);
    if (token === undefined) return undefined;
    const access = tokens.check(token);
    if (access === undefined) throw unauthorized();
    return access;
  }

  /** A server that asks nobody is for programs of this machine, and not for pages in its browsers. */
  #refuseStrangers({ headers: { host, origin } }: Incoming): void {
    if (!this.#options.isLocal) return;
    if (!isLocalHost(host)) throw refused(421, 'this server answers to localhost and loopback addresses only');
    if (origin !== undefined) throw refused(403, 'this server does not answer to pages in browsers');
  }
}

function refused(status: number, message: string): Refusal {
  return new Refusal(textAnswer(status, message), message);
}

function unauthorized(): Refusal {
  return refusal(401, 'UNAUTHORIZED', 'the token is missing, or not valid (any more)', CHALLENGE);
}

function forbidden(): Refusal {
  return refusal(403, 'DENIED', 'this token does not allow to read everything');
}

function nothing(): Refusal {
  return refused(404, 'there is nothing here');
}

function stopping(): Refusal {
  const message = 'the server is stopping';
  return new Refusal(textAnswer(503, message, { connection: 'close', 'retry-after': '5' }), message);
}

/** The kind of a request, for metrics: few, whatever paths clients ask for. */
export function kindOf(path: string): string {
  if (path === '/healthz' || path === '/metrics') return path.slice(1);
  const [, kind] = /^\/v2\/.+\/(manifests|tags|referrers)\//.exec(path) ?? [];
  if (kind !== undefined) return kind;
  if (/^\/v2\/.+\/blobs\/uploads(?:\/|$)/.test(path)) return 'uploads';
  if (/^\/v2\/.+\/blobs\//.test(path)) return 'blobs';
  const [, method] =
    /^\/twirp\/[\w.]+\/(CreateCacheEntry|FinalizeCacheEntryUpload|GetCacheEntryDownloadURL)$/.exec(path) ?? [];
  if (method !== undefined) return method;
  if (path.startsWith('/_apis/artifactcache/')) return 'artifactcache';
  if (/^\/bkcache\/(?:entries|uploads)\//.test(path)) return 'entries';
  return /^\/v2\/?$/.test(path) ? 'v2' : 'other';
}
