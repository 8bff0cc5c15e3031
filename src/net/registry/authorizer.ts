import { CacheError } from '../../errors.js';
import { type Challenge, parseChallenges } from './challenge.js';
import { decoded } from '../http/content-encoding.js';
import type { Credentials, FoundCredentials } from './docker-credentials.js';
import { discard, type HttpClient } from '../http/http.js';
import { onTheWayTo } from '../http/network-error.js';
import { sendRedirected } from '../http/redirects.js';
import { apiHost } from './registry-address.js';
import { isTransient, retryAfterOf, TransientError } from '../http/retry.js';
import { Secrets } from '../http/secrets.js';
import { until } from '../../bytes/until.js';
import {
  BASIC,
  basic,
  BEARER,
  bearer,
  readBody,
  type Token,
  tokenOf,
  withIdentityToken,
  withPassword,
} from './token.js';

interface AuthorizerSettings {
  readonly registry: string;
  readonly http: HttpClient;
  /** Called once, at the registry's first challenge. */
  readonly lookUp: (signal: AbortSignal) => Promise<FoundCredentials>;
  /** Whether credentials may go to a token server over plain HTTP. */
  readonly allowPlain: boolean;
}

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
