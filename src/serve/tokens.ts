import { createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import * as v from 'valibot';
import { CacheError } from '../errors.js';
import { Access, type Grant, type ScopeGrant } from './access.js';

const ISSUER = 'bkcache';
/** The one algorithm. What a token itself says of its algorithm is compared, and never followed. */
const HEADER = encode({ alg: 'HS256', typ: 'JWT' });
/** In bytes. */
const KEY_SIZE = 32;
/** A longer text is no token of this server; in characters. */
const LONGEST = 4096;

/** The bits of a permission: tonistiigi/go-actions-cache, cache.go. */
const READ = 1;
const WRITE = 2;

const schema = v.object({
  iss: v.literal(ISSUER),
  jti: v.string(),
  nbf: v.number(),
  exp: v.number(),
  /** The scopes as GitHub's tokens have them, which clients read. */
  ac: v.optional(
    v.pipe(v.string(), v.parseJson(), v.array(v.object({ Scope: v.string(), Permission: v.number() }))),
    '[]',
  ),
  grants: v.array(v.object({ action: v.picklist(['read', 'write']), repositories: v.array(v.string()) })),
});

/** A new secret for a key file. */
export function newKey(): Buffer {
  return Buffer.from(`${randomBytes(KEY_SIZE).toString('base64url')}\n`);
}

/**
 * Tokens that this server signs and checks: JSON Web Tokens (RFC 7519) with HS256, since clients of GitHub's cache read
 * claims in their token. Claims count only with a signature by the server's own key.
 */
export class Tokens {
  readonly #key: Buffer;

  /**
   * @param key - the bytes of a key file
   * @throws CacheError USAGE for a file that is too short to be a secret
   */
  constructor(key: Uint8Array, where: string) {
    // Of two processes that made the file at once, the line of the first counts for both.
    const [text = ''] = Buffer.from(key).toString('latin1').trim().split('\n');
    if (text.length < KEY_SIZE) {
      throw new CacheError('USAGE', `${where} has no key: ${KEY_SIZE} characters at least are needed`, {
        hint: 'name a file that does not exist, and a key is made there',
      });
    }
    this.#key = Buffer.from(text, 'latin1');
  }

  /**
   * Makes a token.
   *
   * @param lifetime - in milliseconds
   */
  sign(
    grants: readonly Grant[],
    lifetime: number,
    { scopes = [], now = Date.now() }: { readonly scopes?: readonly ScopeGrant[]; readonly now?: number } = {},
  ): string {
    // A minute back: clocks differ.
    const [nbf, exp] = [Math.floor(now / 1000) - 60, Math.ceil((now + lifetime) / 1000)];
    const ac = scopes.map(({ ref, mayWrite }) => ({ Scope: ref, Permission: mayWrite ? READ | WRITE : READ }));
    const claims = { iss: ISSUER, jti: randomUUID(), nbf, exp, grants, ac: JSON.stringify(ac) };
    const signed = `${HEADER}.${encode(claims)}`;
    return `${signed}.${this.#signature(signed).toString('base64url')}`;
  }

  /** What a token grants now; undefined for one that this server did not sign, and for one that is not valid now. */
  check(token: string, now = Date.now()): Access | undefined {
    const [head = '', body = '', signature = '', ...rest] = token.length > LONGEST ? [] : token.split('.');
    if (head !== HEADER || rest.length > 0) return undefined;
    const expected = this.#signature(`${head}.${body}`);
    const given = Buffer.from(signature, 'base64url');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), Buffer.from(body, 'base64url').toString());
    if (!parsed.success) return undefined;
    const { jti, nbf, exp, grants, ac } = parsed.output;
    if (now < nbf * 1000 || now >= exp * 1000) return undefined;
    const scopes = ac.map(({ Scope, Permission }) => ({ ref: Scope, mayWrite: (Permission & WRITE) !== 0 }));
    return new Access(jti, grants, scopes);
  }

  /** A signature over a text of another kind, such as the address of a blob. */
  seal(text: string): string {
    return this.#signature(`seal ${text}`).toString('base64url');
  }

  /** Whether `seal` made a signature. */
  isSealed(text: string, seal: string): boolean {
    const [expected, given] = [this.#signature(`seal ${text}`), Buffer.from(seal, 'base64url')];
    return given.length === expected.length && timingSafeEqual(given, expected);
  }

  #signature(text: string): Buffer {
    return createHmac('sha256', this.#key).update(text).digest();
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** The token in an Authorization header: as a bearer, or as the password of any user, which is what `docker login` sends. */
export function tokenIn(authorization: string | undefined): string | undefined {
  const [, scheme = '', value = ''] = /^(\w+) +(\S+)$/.exec(authorization ?? '') ?? [];
  if (scheme.toLowerCase() === 'bearer') return value;
  if (scheme.toLowerCase() !== 'basic') return undefined;
  const text = Buffer.from(value, 'base64').toString();
  return text.slice(text.indexOf(':') + 1);
}
