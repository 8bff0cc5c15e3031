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

export interface AuthorizerSettings {
  readonly registry: string;
  readonly http: HttpClient;
  /** Asked once, when the registry wants to know. */
  readonly lookUp: (signal: AbortSignal) => Promise<FoundCredentials>;
  /** Whether credentials may go to a token server over plain HTTP. */
  readonly allowPlain: boolean;
}

interface Token {
  readonly header: string;
  /** When to get another one; in milliseconds, as Date.now. */
  readonly renewAt: number;
}

/** What a token is good for when its server does not say: distribution's spec of token authentication. In seconds. */
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
 * Answers a registry's challenges: Basic, and Bearer with tokens from the server that the challenge names, one for
 * each set of scopes, renewed before they expire or when the registry no longer takes them
 * (distribution.github.io, spec/auth/token and spec/auth/oauth).
 */
export class Authorizer {
  readonly #settings: AuthorizerSettings;
  readonly #tokens = new Map<string, Promise<Token>>();
  /** What challenges asked for beside the scopes of the requests that they answered. */
  readonly #extra = new Map<string, readonly string[]>();
  readonly #secrets = new Secrets();
  /** Ends what several requests wait for; no single one of them does. */
  readonly #closing = new AbortController();
  #challenge: Challenge | undefined;
  #found: Promise<FoundCredentials> | undefined;

  constructor(settings: AuthorizerSettings) {
    this.#settings = settings;
  }

  /** What to send along; undefined as long as the registry has not asked for anything. */
  async authorization(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    const { credentials = {} } = await until(this.#lookUp(), signal);
    if (challenge.scheme === 'basic') return basic(credentials);
    if (credentials.registryToken !== undefined) return bearer(credentials.registryToken);
    return (await until(this.#token(challenge, scopes, credentials), signal)).header;
  }

  /**
   * Takes in that the registry refused a request with 401.
   *
   * @param header - its WWW-Authenticate
   * @param refused - the authorization that it got
   * @returns whether it makes sense to try again
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
    // Where repositories have other names inside a registry, its challenge has the scopes that go with those.
    const named = new Set(scopes.map(resourceOf));
    const extra = challenge.parameters['scope']
      ?.split(' ')
      .filter((scope) => scope !== '' && !named.has(resourceOf(scope)));
    this.#extra.set(scopesKey(scopes), extra ?? []);
    if (challenge.scheme === 'bearer' && refused !== undefined) {
      const key = scopesKey(scopes);
      const known = await until(Promise.resolve(this.#tokens.get(key)?.catch(() => undefined)), signal);
      // Another request may have fetched a new one since.
      if (known?.header === refused) this.#tokens.delete(key);
    }
    const next = await this.authorization(scopes, signal);
    return next !== undefined && next !== refused;
  }

  /** What a user can do about a refusal. */
  async hint(): Promise<string> {
    const { registry } = this.#settings;
    const { credentials, problem } = await this.#lookUp();
    const login = `log in with "docker login ${registry}", or use --username and --password-stdin`;
    if (problem !== undefined) return `${problem}; ${login}`;
    return credentials === undefined
      ? `no credentials for ${registry} were found: ${login}`
      : `the registry does not take the credentials for ${registry}, or they do not allow this; to change them, ${login}`;
  }

  /** Whether a text has anything in it that was sent to the registry or its token server in confidence. */
  isSecret(text: string): boolean {
    return this.#secrets.isIn(text);
  }

  /** Ends what is under way. */
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
    // Whoever comes while it is under way waits for this one.
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
    // Nothing of an answer is repeated: it may hold a token, or what was sent.
    if (status < 200 || status >= 300) discard(response);
    if (isTransient(status)) {
      const retryAfter = retryAfterOf(response.headers['retry-after']);
      throw new TransientError(`${registry}: ${peer} is not available: HTTP ${status}`, { retryAfter });
    }
    if (status >= 400) {
      throw new CacheError('DENIED', `${registry}: ${peer} refuses: HTTP ${status}`, { hint: await this.hint() });
    }
    const where = `${registry}: the answer of ${peer}`;
    if (status < 200 || status >= 300) throw new CacheError('UNREACHABLE', `${where} is of no use: HTTP ${status}`);
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
      throw new CacheError('UNREACHABLE', `${registry}: its challenge names a token server that is not one for HTTP`);
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

/** @throws CacheError UNREACHABLE for what no header can hold */
function bearer(token: string, where = 'the registry token'): string {
  if (/^[\x21-\x7e]+$/.test(token)) return `${BEARER}${token}`;
  throw new CacheError('UNREACHABLE', `${where} has characters that no token has`);
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

/** The most that a token's answer may have, in bytes. */
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
  // The answer is not quoted: it may hold a token all the same.
  if (!parsed.success) throw new CacheError('UNREACHABLE', `${where} cannot be read`);
  const { access_token: access, token = access, expires_in: life } = parsed.output;
  const value = token || access;
  if (!value) throw new CacheError('UNREACHABLE', `${where} has no token in it`);
  // A tenth early, since the token has to last until the registry looks at it.
  return { header: bearer(value, where), renewAt: Date.now() + (life ?? DEFAULT_LIFE) * 900 };
}
