import { collect } from '../../bytes/collect.js';
import { limited } from '../../bytes/limited.js';
import { jsonAnswer, Refusal, type Request } from '../request.js';
import type { GhaStore } from './gha-store.js';
import type { Reservations } from './reservations.js';
import type { SignedUrls } from './signed-urls.js';

/** What the handlers of the cache service work on. */
export interface GhaContext {
  readonly store: GhaStore;
  readonly reservations: Reservations;
  readonly urls: SignedUrls;
  /** The address that clients see; undefined where the Host of each request tells. */
  readonly origin: string | undefined;
  /** For addresses made from a Host. */
  readonly scheme: 'http' | 'https';
  readonly isReadOnly: boolean;
}

/** The largest document of a client, in bytes: a key has 512 characters at most. */
const DOCUMENT_LIMIT = 256 * 1024;
/** GitHub takes no longer key. */
const LONGEST_KEY = 512;

/** The address of this server for the client of a request. */
export function originFor({ origin, scheme }: GhaContext, { headers: { host } }: Request): string {
  if (origin !== undefined) return origin;
  // What a client calls this server by, it can reach it by.
  return `${scheme}://${/^[\w.:[\]-]+$/.test(host ?? '') ? host : 'localhost'}`;
}

/** The scope that a caller writes to: the first of its own. */
export function writtenScope({ access }: Request): string | undefined {
  return access.scopes.find(({ mayWrite }) => mayWrite)?.ref;
}

/** Whether a key can be that of an entry. */
export function isKey(key: string): boolean {
  return key !== '' && key.length <= LONGEST_KEY && !/[,\p{Cc}]/u.test(key);
}

/** The JSON document in the body of a request. @throws Refusal */
export async function documentIn(request: Request, tooLarge: () => Refusal): Promise<unknown> {
  const bytes = await collect(limited(request.body, DOCUMENT_LIMIT, tooLarge));
  try {
    return JSON.parse(bytes.toString()) as unknown;
  } catch {
    return undefined;
  }
}

/** An error of version 2: Twirp's. */
export function twirpRefusal(status: number, code: string, msg: string): Refusal {
  return new Refusal(jsonAnswer(status, { code, msg }), msg);
}
