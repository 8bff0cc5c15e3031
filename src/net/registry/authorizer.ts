import * as v from 'valibot';
import { CacheError } from '../../errors.js';
import { type Challenge, parseChallenges } from './challenge.js';
import { decoded } from '../http/content-encoding.js';
import type { Credentials, FoundCredentials } from './docker-credentials.js';
import { discard, type HttpClient } from '../http/http.js';
import { onTheWayTo } from '../http/network-error.js';
import { type RedirectableRequest, sendRedirected } from '../http/redirects.js';
import { apiHost } from './registry-address.js';
import { isTransient, retryAfterOf, TransientError } from '../http/retry.js';
import { Secrets } from '../http/secrets.js';
import { until } from '../http/until.js';

interface AuthorizerSettings {
  readonly registry: string;
  readonly http: HttpClient;
  /** Called once, at the registry's first challenge. */
  readonly lookUp: (signal: AbortSignal) => Promise<FoundCredentials>;
  /** Whether credentials may go to a token server over plain HTTP. */
  readonly allowPlain: boolean;
}

interface Token {
  readonly header: string;
  /** When to fetch a new token; in milliseconds, as Date.now. */
  readonly renewAt: number;
}

/** The lifetime of a token without `expires_in`, in seconds: distribution, spec/auth/token. */
const DEFAULT_LIFE = 60;
const CLIENT_ID = 'bkcache';
const BASIC = 'Basic ';
const BEARER = 'Bearer ';

const tokenSchema = v.looseObject({
  token: v.nullish(v.string()),
  access_token: v.nullish(v.string()),
  expires_in: v.nullish(v.number()),
});

/**
 * Answers a registry's challenges: Basic, and Bearer with tokens from the server that the challenge names. There is one
 * token for each set of scopes; it is renewed before it expires, or when the registry refuses it
 * (distribution.github.io, spec/auth/token and spec/auth/oauth).
 */
export class Authorizer {
  readonly #settings: AuthorizerSettings;
  readonly #tokens = new Map<string, Promise<Token>>();
  /** The scopes that challenges asked for in addition to a request's own, by its scopes. */
  readonly #extra = new Map<string, readonly string[]>();
  readonly #secrets = new Secrets();
  /** Aborts work that several requests wait for. The signal of a single request does not abort it. */
  readonly #closing = new AbortController();
  #challenge: Challenge | undefined;
  #found: Promise<FoundCredentials> | undefined;

  constructor(settings: AuthorizerSettings) {
    this.#settings = settings;
  }

  /** The Authorization header for a request; undefined before the first challenge. */
  async authorization(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    const { credentials = {} } = await until(this.#lookUp(), signal);
    if (challenge.scheme === 'basic') return basic(credentials);
    if (credentials.registryToken !== undefined) return bearer(credentials.registryToken);
    return (await until(this.#token(challenge, scopes, credentials), signal)).header;
  }

  /**
   * Records that the registry refused a request with 401.
   *
   * @param header - the response's WWW-Authenticate
   * @param refused - the Authorization header of the request
   * @returns whether another attempt has another authorization
   */
  async challenged(
    header: string | undefined,
    refused: string | undefined,
    scopes: readonly string[],
    signal?: AbortSignal,
  ): Promise<boolean> {
    const offered = parseChallenges(header ?? '');
    const challenge =
      offered.find(({ scheme }) => scheme === 'bearer') ?? offered.find(({ scheme }) => scheme === 'basic');
    if (challenge === undefined) return false;
    this.#challenge = challenge;
    // A registry may have other names for repositories internally, and name the scopes of those in its challenge.
    const named = new Set(scopes.map(resourceOf));
    const extra = challenge.parameters['scope']
      ?.split(' ')
      .filter((scope) => scope !== '' && !named.has(resourceOf(scope)));
    this.#extra.set(scopesKey(scopes), extra ?? []);
    if (challenge.scheme === 'bearer' && refused !== undefined) {
      const key = scopesKey(scopes);
      const known = await until(Promise.resolve(this.#tokens.get(key)?.catch(() => undefined)), signal);
      // Another request may have fetched a new token since.
      if (known?.header === refused) this.#tokens.delete(key);
    }
    const next = await this.authorization(scopes, signal);
    return next !== undefined && next !== refused;
  }

  /** The hint for a refusal. */
  async hint(): Promise<string> {
    const { registry } = this.#settings;
    const { credentials, problem } = await this.#lookUp();
    const login = `log in with "docker login ${registry}", or use --username and --password-stdin`;
    if (problem !== undefined) return `${problem}; ${login}`;
    return credentials === undefined
      ? `no credentials for ${registry} were found: ${login}`
      : `the registry refuses the credentials for ${registry}, or they do not allow this; to change them, ${login}`;
  }

  /** Whether a text contains a secret that was sent to the registry or its token server. */
  isSecret(text: string): boolean {
    return this.#secrets.isIn(text);
  }

  /** Aborts the lookups and token requests in progress. */
  close(): void {
    this.#closing.abort();
  }

  #lookUp(): Promise<FoundCredentials> {
    this.#found ??= this.#settings.lookUp(this.#closing.signal).then((found) => {
      const { password, identityToken, registryToken } = found.credentials ?? {};
      for (const secret of [password, identityToken, registryToken]) this.#secrets.add(secret);
      this.#secrets.add(basic(found.credentials ?? {})?.slice(BASIC.length));
      return found;
    });
    return this.#found;
  }

  #token(challenge: Challenge, scopes: readonly string[], credentials: Credentials): Promise<Token> {
    const key = scopesKey(scopes);
    const fetched = (async () => {
      const known = await this.#tokens.get(key)?.catch(() => undefined);
      if (known !== undefined && Date.now() < known.renewAt) return known;
      return this.#fetchToken(challenge, scopes, credentials);
    })();
    // Requests that need a token meanwhile wait for this fetch.
    this.#tokens.set(key, fetched);
    fetched.catch(() => this.#tokens.delete(key));
    return fetched;
  }

  async #fetchToken({ parameters }: Challenge, scopes: readonly string[], credentials: Credentials): Promise<Token> {
    const { registry, http, allowPlain } = this.#settings;
    const url = this.#realm(parameters['realm'] ?? '', Object.keys(credentials).length > 0);
    const service = parameters['service'];
    const wanted = [...scopes, ...(this.#extra.get(scopesKey(scopes)) ?? [])];
    const request =
      credentials.identityToken === undefined
        ? withPassword(url, service, wanted, credentials)
        : withIdentityToken(url, service, wanted, credentials.identityToken);
    const peer = `its token server ${url.host}`;
    const { signal } = this.#closing;
    const response = await sendRedirected(
      http,
      { ...request, namedBy: new URL(`https://${apiHost(registry)}`), signal },
      { allowPlain, nameOf: ({ host }) => (host === url.host ? peer : `${peer}, by way of ${host}`) },
    );
    const { status } = response;
    // Messages show nothing of the response: it may contain a token, or repeat a secret.
    if (status < 200 || status >= 300) discard(response);
    if (isTransient(status)) {
      const retryAfter = retryAfterOf(response.headers['retry-after']);
      throw new TransientError(`${registry}: ${peer} is not available: HTTP ${status}`, { retryAfter });
    }
    if (status >= 400) {
      throw new CacheError('DENIED', `${registry}: ${peer} refuses: HTTP ${status}`, { hint: await this.hint() });
    }
    const where = `${registry}: the answer of ${peer}`;
    if (status < 200 || status >= 300) throw new CacheError('UNREACHABLE', `${where} cannot be used: HTTP ${status}`);
    const token = tokenOf(await readBody(decoded(response)).catch(onTheWayTo(peer)), where);
    this.#secrets.add(token.header.slice(BEARER.length));
    return token;
  }

  #realm(realm: string, isSecret: boolean): URL {
    const { registry, allowPlain } = this.#settings;
    let url: URL;
    try {
      url = new URL(realm);
    } catch {
      throw new CacheError('UNREACHABLE', `${registry}: its challenge names no token server`);
    }
    if (!/^https?:$/.test(url.protocol)) {
      throw new CacheError(
        'UNREACHABLE',
        `${registry}: its challenge names a token server whose URL is not an HTTP URL`,
      );
    }
    if (url.protocol === 'https:' || (url.protocol === 'http:' && (allowPlain || !isSecret))) return url;
    throw new CacheError('DENIED', `${registry}: it wants credentials sent to ${url.host} without encryption`, {
      hint: 'registry.insecure=true allows that',
    });
  }
}

function scopesKey(scopes: readonly string[]): string {
  return scopes.toSorted().join(' ');
}

/** A scope without its actions: `repository:NAME`. */
function resourceOf(scope: string): string {
  return scope.slice(0, scope.lastIndexOf(':'));
}

function basic({ username = '', password = '' }: Credentials): string | undefined {
  if (username === '' && password.length === 0) return undefined;
  const bytes = Buffer.concat([Buffer.from(`${username}:`), Buffer.from(password)]);
  return `${BASIC}${bytes.toString('base64')}`;
}

/** @throws CacheError UNREACHABLE for a token with characters that a header cannot contain */
function bearer(token: string, where = 'the registry token'): string {
  if (/^[\x21-\x7e]+$/.test(token)) return `${BEARER}${token}`;
  throw new CacheError('UNREACHABLE', `${where} has characters that a token cannot have`);
}

function withPassword(
  realm: URL,
  service: string | undefined,
  scopes: readonly string[],
  credentials: Credentials,
): RedirectableRequest {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  if (credentials.username !== undefined) url.searchParams.set('account', credentials.username);
  const authorization = basic(credentials);
  return { method: 'GET', url, authorization };
}

function withIdentityToken(
  url: URL,
  service: string | undefined,
  scopes: readonly string[],
  identityToken: string,
): RedirectableRequest {
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    refresh_token: identityToken,
    client_id: CLIENT_ID,
    ...(service === undefined ? {} : { service }),
    ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
  });
  const bytes = Buffer.from(form.toString());
  return {
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': `${bytes.length}` },
    async *body() {
      yield bytes;
    },
    isSecret: true,
  };
}

/** The largest response of a token server, in bytes. */
const ANSWER_LIMIT = 1024 * 1024;

async function readBody(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > ANSWER_LIMIT) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function tokenOf(text: string, where: string): Token {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), tokenSchema), text);
  // The message does not quote the response: it may contain a token.
  if (!parsed.success) throw new CacheError('UNREACHABLE', `${where} cannot be read`);
  const { access_token: access, token = access, expires_in: life } = parsed.output;
  const value = token || access;
  if (!value) throw new CacheError('UNREACHABLE', `${where} has no token in it`);
  // Renewed after nine tenths of its lifetime, so that it is still valid when the registry checks it.
  return { header: bearer(value, where), renewAt: Date.now() + (life ?? DEFAULT_LIFE) * 900 };
}
