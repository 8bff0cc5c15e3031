import * as v from 'valibot';
import { CacheError, type Side } from '../../../errors.js';
import { isTransient, TransientError } from '../../../net/http/retry.js';
import type { Secrets } from '../../../net/http/secrets.js';
import type { ServiceWords } from '../../../net/http/network-error.js';

/** What a service says of a request that it does not do. */
export interface GhaRefusal {
  readonly status: number;
  /** The service's own name for it, such as `already_exists`; empty where the answer has none. */
  readonly code: string;
  readonly text: string;
  /** Whether the answer has the form of the service's errors. */
  readonly isFormal: boolean;
}

/** The refusal of a request, with the error that a caller throws for it. */
export class GhaFailure extends Error {
  readonly refusal: GhaRefusal;
  /** The same in words. */
  readonly described: CacheError;
  /** Whether an earlier attempt of this request may have been done, and its answer lost. */
  readonly mayBeOwn: boolean;

  constructor(refusal: GhaRefusal, described: CacheError, mayBeOwn: boolean) {
    super('refused');
    this.refusal = refusal;
    this.described = described;
    this.mayBeOwn = mayBeOwn;
  }
}

export const SERVICE_WORDS: ServiceWords = {
  address: 'check url= and url_v2=, or ACTIONS_RESULTS_URL and ACTIONS_CACHE_URL',
  certificate: 'name the file of the authority that signed it with --registry-ca',
  plain: 'an address that begins with http:// is plain HTTP',
};

/** How much of a text is shown, in characters. */
const TEXT_LIMIT = 300;
const DENIED = /cache (?:read|write) denied:/;
/** What GitHub says where the storage that a repository pays for is used up: actions/toolkit, packages/cache. */
const QUOTA = /insufficient usage/;

const NOT_THE_SERVICE =
  'something in between may have answered: check the proxy (HTTPS_PROXY, NO_PROXY) and the address';

/** Twirp's errors; those of version 1 and of the REST API. A proxy may add a byte order mark. */
const twirpSchema = v.looseObject({ code: v.string(), msg: v.nullish(v.string()), message: v.nullish(v.string()) });
const messageSchema = v.looseObject({ message: v.string(), typeKey: v.nullish(v.string()) });

/** Reads the body of a refusal. */
export function refusalIn(status: number, body: string): GhaRefusal {
  const json = jsonOf(body);
  const twirp = v.safeParse(twirpSchema, json);
  if (twirp.success) {
    const { code, msg, message } = twirp.output;
    return { status, code, text: printable(msg ?? message ?? ''), isFormal: true };
  }
  const other = v.safeParse(messageSchema, json);
  if (other.success) {
    const { typeKey, message } = other.output;
    return { status, code: typeKey ?? '', text: printable(message), isFormal: true };
  }
  return { status, code: '', text: firstLine(body), isFormal: false };
}

/** The JSON of a body; undefined for a body that is none. */
export function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body.replace(/^\uFEFF/, '')) as unknown;
  } catch {
    return undefined;
  }
}

/** The first line of an answer that is no JSON, as a proxy gives one. */
export function firstLine(body: string): string {
  return printable(body.split(/\r?\n/).find((line) => line.trim() !== '') ?? '');
}

/** Whether the key of a new entry is reserved already: go-actions-cache, cache.go, GithubAPIError. */
export function isReserved({ code, text }: GhaRefusal): boolean {
  return code === 'already_exists' || code.includes('AlreadyExists') || /already exists/i.test(text);
}

/** Whether the workflow's cache-mode, or the kind of its event, forbids what was asked for. */
export function isPolicy({ text }: GhaRefusal): boolean {
  return DENIED.test(text);
}

/** What a request was for, for messages. */
export interface GhaRequest {
  /** The service. */
  readonly name: string;
  readonly side: Side;
  /** Such as `look for index-…`. */
  readonly purpose: string;
  readonly secrets: Secrets;
}

/** The error for a refusal: transient where it is worth another try. */
export function describeRefusal(refusal: GhaRefusal, { name, side, purpose, secrets }: GhaRequest): CacheError {
  const { status, code, text } = refusal;
  const what = `${name}: cannot ${purpose}`;
  if (secrets.isIn(text)) {
    return new CacheError('DENIED', `${what}: its answer is not shown, since it repeats a secret`, { side });
  }
  const words = [code, text].filter((part) => part !== '').join(': ');
  const message = `${what}: ${words === '' ? `HTTP ${status}` : `${words} (HTTP ${status})`}`;
  if (isTransient(status)) return new TransientError(message, { side });
  return new CacheError(status >= 400 ? 'DENIED' : 'UNREACHABLE', message, { side, hint: hintFor(refusal) });
}

function hintFor(refusal: GhaRefusal): string | undefined {
  const { status, text, isFormal } = refusal;
  if (isPolicy(refusal)) {
    return 'cache-mode in the workflow says what a job may do; events such as pull_request_target only read by default';
  }
  if (QUOTA.test(text))
    return "the storage for caches is used up: free some (bkcache prune), or raise the repository's";
  if (isReserved(refusal))
    return 'another run is writing this entry, or has crashed: GitHub frees the key in up to a day';
  if (status === 401) return 'a token ends with its job: take ACTIONS_RUNTIME_TOKEN of the job that runs now';
  if (status === 404) return 'check url= and url_v2=: this address is not that of a cache service';
  return isFormal ? undefined : NOT_THE_SERVICE;
}

/** The error for an answer that is not the service's, such as the page of a proxy. */
export function notTheService(
  { name, side, purpose, secrets }: GhaRequest,
  { status, body }: { readonly status: number; readonly body: string },
): CacheError {
  const line = firstLine(body);
  const shown = line === '' ? 'it is empty' : secrets.isIn(line) ? 'it repeats a secret' : `it begins with ${line}`;
  return new CacheError('UNREACHABLE', `${name}: cannot ${purpose}: its answer is no JSON, ${shown} (HTTP ${status})`, {
    side,
    hint: NOT_THE_SERVICE,
  });
}

/** The error for an entry of a cache that cannot be read. @param what - the entry, and what is wrong with it */
export function lostEntry(
  { name, side }: { readonly name: string; readonly side: Side },
  what: string,
  wrong: 'missing' | 'size',
): CacheError {
  return new CacheError('CORRUPT', `${name}: ${what}`, {
    hint: 'GitHub evicts entries one by one when the storage of a repository is full; export the cache again',
    side,
    wrong,
  });
}

/** The text of a server, safe for a terminal and a log. */
function printable(text: string): string {
  const line = text.replace(/[\p{Cc}\s]+/gu, ' ').trim();
  return line.length > TEXT_LIMIT ? `${line.slice(0, TEXT_LIMIT)}…` : line;
}
