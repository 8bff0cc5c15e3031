import * as v from 'valibot';
import { CacheError } from '../../errors.js';
import type { RedirectableRequest } from '../http/redirects.js';
import type { Credentials } from './docker-credentials.js';

// How tokens are asked for, and what the answers say.

/** A token, as the Authorization header of a request. */
export interface Token {
  readonly header: string;
  /** When to fetch a new token; in milliseconds, as Date.now. */
  readonly renewAt: number;
}

/** The lifetime of a token without `expires_in`, in seconds: distribution, spec/auth/token. */
const DEFAULT_LIFE = 60;
const CLIENT_ID = 'bkcache';
export const BASIC = 'Basic ';
export const BEARER = 'Bearer ';

const tokenSchema = v.looseObject({
  token: v.nullish(v.string()),
  access_token: v.nullish(v.string()),
  expires_in: v.nullish(v.number()),
});

/** The header with a user and a password; undefined if both are empty. */
export function basic({ username = '', password = '' }: Credentials): string | undefined {
  if (username === '' && password.length === 0) return undefined;
  const bytes = Buffer.concat([Buffer.from(`${username}:`), Buffer.from(password)]);
  return `${BASIC}${bytes.toString('base64')}`;
}

/**
 * The header with a token.
 *
 * @throws CacheError UNREACHABLE for a token with characters that a header cannot contain
 */
export function bearer(token: string, where = 'the registry token'): string {
  if (/^[\x21-\x7e]+$/.test(token)) return `${BEARER}${token}`;
  throw new CacheError('UNREACHABLE', `${where} has characters that a token cannot have`);
}

/** The request for a token with a user and a password, or without: distribution, spec/auth/token. */
export function withPassword(
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

/** The request for a token with a refresh token: distribution, spec/auth/oauth. */
export function withIdentityToken(
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

/** The text of an answer, up to a limit. */
export async function readBody(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > ANSWER_LIMIT) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/**
 * The token in the answer of a token server.
 *
 * @param where - the answer, for messages
 * @throws CacheError UNREACHABLE for an answer without a token
 */
export function tokenOf(text: string, where: string): Token {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), tokenSchema), text);
  // The message does not quote the response: it may contain a token.
  if (!parsed.success) throw new CacheError('UNREACHABLE', `${where} cannot be read`);
  const { access_token: access, token = access, expires_in: life } = parsed.output;
  const value = token || access;
  if (!value) throw new CacheError('UNREACHABLE', `${where} has no token in it`);
  // Renewed after nine tenths of its lifetime, so that it is still valid when the registry checks it.
  return { header: bearer(value, where), renewAt: Date.now() + (life ?? DEFAULT_LIFE) * 900 };
}
