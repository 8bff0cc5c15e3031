import * as v from 'valibot';
import { CacheError, type Side } from '../../../errors.js';

/** What a token may do in one scope of GitHub: a branch, such as `refs/heads/main`, or a pull request. */
export interface TokenScope {
  readonly scope: string;
  readonly mayWrite: boolean;
}

/** What a token of GitHub Actions says of itself. Its signature is the service's matter. */
export interface ActionsToken {
  /** In the order of the token: its own scope comes before those that it falls back to. */
  readonly scopes: readonly TokenScope[];
  /** In milliseconds since 1970. */
  readonly notBefore: number;
  readonly expires: number;
}

/** The bit of a permission that allows writing: tonistiigi/go-actions-cache, cache.go. */
const WRITE = 2;
/** The algorithms that golang-jwt knows: BuildKit refuses other tokens. */
const ALGORITHM = /^(?:(?:HS|RS|ES|PS)(?:256|384|512)|EdDSA|none)$/;
const PART = /^[\w-]+$/;

const headerSchema = v.looseObject({ alg: v.pipe(v.string(), v.regex(ALGORITHM)) });
const claimsSchema = v.looseObject({ ac: v.string(), nbf: v.number(), exp: v.number() });
const accessSchema = v.array(v.looseObject({ scope: v.string(), permission: v.number() }));

/**
 * Reads a token as BuildKit does: a JWT whose claim `ac` is JSON in a string.
 *
 * @throws CacheError USAGE, which quotes nothing of the token
 */
export function readActionsToken(token: string): ActionsToken {
  const [header = '', claims = '', signature, ...more] = token.split('.');
  if (signature === undefined || more.length > 0) throw noToken('it is no JWT, which has three parts');
  if (!v.safeParse(headerSchema, jsonIn(header)).success) throw noToken('its first part names no algorithm');
  const parsed = v.safeParse(claimsSchema, jsonIn(claims));
  if (!parsed.success) throw noToken('it lacks one of the claims ac, nbf and exp');
  const { ac, nbf, exp } = parsed.output;
  const access = v.safeParse(accessSchema, lowerCased(jsonOf(ac)));
  if (!access.success) throw noToken('its claim ac is no list of scopes');
  return {
    scopes: access.output.map(({ scope, permission }) => ({ scope, mayWrite: (permission & WRITE) !== 0 })),
    notBefore: nbf * 1000,
    expires: exp * 1000,
  };
}

/**
 * Checks that a token counts now.
 *
 * @throws CacheError DENIED
 */
export function checkLifetime({ notBefore, expires }: ActionsToken, side: Side, now = Date.now()): void {
  if (now > expires) {
    throw new CacheError('DENIED', `the token of GitHub Actions expired at ${new Date(expires).toISOString()}`, {
      hint: 'a token ends with its job, and after six hours: take that of the job that runs now',
      side,
    });
  }
  if (now < notBefore) {
    throw new CacheError(
      'DENIED',
      `the token of GitHub Actions counts from ${new Date(notBefore).toISOString()} on, which is in the future`,
      { hint: 'set the clock of this machine', side },
    );
  }
}

/** The scope that an export goes to: the last one that may be written, as BuildKit takes it. */
export function writableScope({ scopes }: ActionsToken): string | undefined {
  return scopes.findLast(({ mayWrite }) => mayWrite)?.scope;
}

/** The scope that a job is in. */
export function ownScope(token: ActionsToken): string | undefined {
  return writableScope(token) ?? token.scopes[0]?.scope;
}

function jsonIn(part: string): unknown {
  return PART.test(part) ? jsonOf(Buffer.from(part, 'base64url').toString()) : undefined;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** A list of objects with their names in lower case: Go reads names in any case. */
function lowerCased(list: unknown): unknown {
  if (!Array.isArray(list)) return list;
  return list.map((one: unknown) => {
    if (typeof one !== 'object' || one === null) return one;
    return Object.fromEntries(Object.entries(one).map(([name, value]) => [name.toLowerCase(), value as unknown]));
  });
}

function noToken(why: string): CacheError {
  return new CacheError('USAGE', `token= is no token of GitHub Actions: ${why}`, {
    hint: 'it is the value of ACTIONS_RUNTIME_TOKEN, and not that of GITHUB_TOKEN',
  });
}
