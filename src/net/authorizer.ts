import * as v from 'valibot';
import { CacheError } from '../errors.js';
import { type Challenge, parseChallenges } from './challenge.js';
import type { Credentials, FoundCredentials } from './docker-credentials.js';
import { type HttpClient, type HttpRequest } from './http.js';
import { onTheWayTo } from './network-error.js';
import { faultOf } from './registry-error.js';
import { isTransient, retryAfterOf, TransientError } from './retry.js';

export interface AuthorizerSettings {
  readonly registry: string;
  readonly http: HttpClient;
  /** Asked once, when the registry wants to know. */
  readonly lookUp: () => Promise<FoundCredentials>;
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
  #challenge: Challenge | undefined;
  #found: Promise<FoundCredentials> | undefined;

  constructor(settings: AuthorizerSettings) {
    this.#settings = settings;
  }

  /** What to send along; undefined as long as the registry has not asked for anything. */
  async authorization(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    const { credentials = {} } = await this.#lookUp();
    if (challenge.scheme === 'basic') return basic(credentials);
    if (credentials.registryToken !== undefined) return `Bearer ${credentials.registryToken}`;
    return (await this.#token(challenge, scopes, credentials, signal)).header;
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
    this.#extra.set(keyOf(scopes), extra ?? []);
    if (challenge.scheme === 'bearer' && refused !== undefined) {
      const key = keyOf(scopes);
      const known = await this.#tokens.get(key)?.catch(() => undefined);
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

  #lookUp(): Promise<FoundCredentials> {
    return (this.#found ??= this.#settings.lookUp());
  }

  #token(
    challenge: Challenge,
    scopes: readonly string[],
    credentials: Credentials,
    signal: AbortSignal | undefined,
  ): Promise<Token> {
    const key = keyOf(scopes);
    const fetched = (async () => {
      const known = await this.#tokens.get(key)?.catch(() => undefined);
      if (known !== undefined && Date.now() < known.renewAt) return known;
      return this.#fetchToken(challenge, scopes, credentials, signal);
    })();
    // Whoever comes while it is under way waits for this one.
    this.#tokens.set(key, fetched);
    fetched.catch(() => this.#tokens.delete(key));
    return fetched;
  }

  async #fetchToken(
    { parameters }: Challenge,
    scopes: readonly string[],
    credentials: Credentials,
    signal: AbortSignal | undefined,
  ): Promise<Token> {
    const { registry, http } = this.#settings;
    const url = this.#realm(parameters['realm'] ?? '', Object.keys(credentials).length > 0);
    const service = parameters['service'];
    const wanted = [...scopes, ...(this.#extra.get(keyOf(scopes)) ?? [])];
    const request =
      credentials.identityToken === undefined
        ? withPassword(url, service, wanted, credentials)
        : withIdentityToken(url, service, wanted, credentials.identityToken);
    const peer = `its token server ${url.host}`;
    const response = await http.send({ ...request, signal }).catch(onTheWayTo(peer));
    const { status } = response;
    if (isTransient(status)) {
      const retryAfter = retryAfterOf(response.headers['retry-after']);
      const { text } = await faultOf(response);
      throw new TransientError(`${registry}: ${peer} is not available: ${text}`, { retryAfter });
    }
    if (status !== 200) {
      const { text } = await faultOf(response);
      throw new CacheError('DENIED', `${registry}: ${peer} refuses: ${text}`, {
        hint: await this.hint(),
      });
    }
    return tokenOf(await readBody(response.body).catch(onTheWayTo(peer)), `${registry}: the answer of ${peer}`);
  }

  #realm(realm: string, isSecret: boolean): URL {
    const { registry, allowPlain } = this.#settings;
    let url: URL;
    try {
      url = new URL(realm);
    } catch {
      throw new CacheError('UNREACHABLE', `${registry}: its challenge names no token server`);
    }
    if (url.protocol === 'https:' || (url.protocol === 'http:' && (allowPlain || !isSecret))) return url;
    throw new CacheError('DENIED', `${registry}: it wants credentials sent to ${url.host} without encryption`, {
      hint: 'registry.insecure=true allows that',
    });
  }
}

function keyOf(scopes: readonly string[]): string {
  return scopes.toSorted().join(' ');
}

/** A scope without its actions: `repository:NAME`. */
function resourceOf(scope: string): string {
  return scope.slice(0, scope.lastIndexOf(':'));
}

function basic({ username = '', password = '' }: Credentials): string | undefined {
  if (username === '' && password === '') return undefined;
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function withPassword(
  realm: URL,
  service: string | undefined,
  scopes: readonly string[],
  credentials: Credentials,
): HttpRequest {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  if (credentials.username !== undefined) url.searchParams.set('account', credentials.username);
  const authorization = basic(credentials);
  return { method: 'GET', url, headers: authorization === undefined ? {} : { authorization } };
}

function withIdentityToken(
  url: URL,
  service: string | undefined,
  scopes: readonly string[],
  identityToken: string,
): HttpRequest {
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
    body: (async function* () {
      yield bytes;
    })(),
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
  return { header: `Bearer ${value}`, renewAt: Date.now() + (life ?? DEFAULT_LIFE) * 900 };
}
