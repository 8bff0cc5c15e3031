import type { CacheError } from '../../errors.js';
import { discard } from '../../net/http/http.js';
import { statusOf } from '../../net/registry/registry-error.js';
import { headerOf, type RegistryRequest, type RegistryResponse } from '../../net/registry/registry-request.js';
import { TransientError } from '../../net/http/retry.js';
import type { Digest } from '../../oci/digest.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';

/** A registry may take long to put a large blob in its place. In milliseconds. */
const FINISH_TIMEOUT = 600_000;

/**
 * Statuses that refuse a chunk, whatever is in it: registries and the proxies before them have many ways to say that it is
 * too large, or that they take none (GitHub's says 416 above 4 MiB).
 */
const REFUSES_CHUNK: ReadonlySet<number | undefined> = new Set([400, 405, 411, 413, 415, 501]);
/** Statuses that mean the same where nothing was sent before, and later that the registry has lost the upload. */
const LOST: ReadonlySet<number | undefined> = new Set([404, 409, 416, 422]);
const LOST_AT_END: ReadonlySet<number | undefined> = new Set([404, 416]);
/** How many uploads in a row the registry may lose without progress. A restart loses the uploads of a registry once. */
const LOST_ATTEMPTS = 3;
/** Statuses that refuse a blob in one request for its size. */
const REFUSES_WHOLE: ReadonlySet<number | undefined> = new Set([413, 416]);

/** The registry does not take so many bytes in one request. Its cause is the refusal. */
export class BodyRefused extends Error {
  override readonly cause: CacheError;
  /** In bytes. */
  readonly size: number;

  constructor(cause: CacheError, size: number) {
    super(cause.message);
    this.cause = cause;
    this.size = size;
  }
}

/** Bytes to send, made again for each attempt. */
export interface Body {
  /** In bytes. */
  readonly length: number;
  readonly open: () => AsyncIterable<Uint8Array>;
}

/** A blob of another repository of the same registry. */
interface Mount {
  readonly digest: Digest;
  readonly from: string;
}

const NOTHING: Body = {
  length: 0,
  async *open() {
    // An empty body.
  },
};

/**
 * One upload of a blob: distribution-spec, "Pushing blobs". Each answer's Location is where the next request goes. No
 * request is repeated here; after a failure, `recover` asks where to go on.
 */
export class UploadSession {
  readonly #place: RegistryPlace;
  readonly #signal: AbortSignal | undefined;
  readonly #what: string;
  #location: URL;
  #offset = 0;
  /** The least that the registry wants in a chunk, in bytes. */
  readonly minimum: number;

  private constructor(place: RegistryPlace, what: string, opened: RegistryResponse, signal: AbortSignal | undefined) {
    this.#place = place;
    this.#what = what;
    this.#signal = signal;
    const location = opened.headers.location || undefined;
    this.#location = place.client.addressIn(location, opened, { ...place, purpose: opening(what) });
    this.minimum = Number(headerOf(opened.headers, 'oci-chunk-min-length') ?? 0) || 0;
  }

  /**
   * Opens an upload.
   *
   * @param what - for messages
   */
  static async open(place: RegistryPlace, what: string, signal: AbortSignal | undefined): Promise<UploadSession> {
    return new UploadSession(place, what, await post(place, what, undefined, signal), signal);
  }

  /**
   * Has the registry take a blob over from another of its repositories; where it does not, this opens an upload.
   *
   * @returns undefined when it did
   */
  static async mount(
    place: RegistryPlace,
    what: string,
    blob: Mount,
    signal: AbortSignal | undefined,
  ): Promise<UploadSession | undefined> {
    const response = await post(place, what, blob, signal);
    return response.status === 201 ? undefined : new UploadSession(place, what, response, signal);
  }

  /** How many bytes the registry has. */
  get offset(): number {
    return this.#offset;
  }

  /**
   * Sends the next bytes, and leaves the upload open.
   *
   * @throws BodyRefused, CacheError
   */
  async append(body: Body): Promise<void> {
    const end = this.#offset + body.length;
    let response: RegistryResponse;
    try {
      response = await this.#place.client.request(this.#request('PATCH', this.#location, body));
    } catch (error) {
      const status = statusOf(error);
      const isFirst = this.#offset === 0;
      if (REFUSES_CHUNK.has(status) || (isFirst && LOST.has(status))) {
        throw new BodyRefused(error as CacheError, body.length);
      }
      throw this.#orLost(error, LOST);
    }
    discard(response);
    this.#moveOn(response);
    const known = endOf(response);
    // It may take less than it was sent; some say nothing useful.
    this.#offset = known !== undefined && known > this.#offset && known < end ? known : end;
  }

  /**
   * Sends the last bytes, if any are left, and makes a blob of all.
   *
   * @throws BodyRefused, CacheError
   */
  async finish(digest: Digest, body: Body = NOTHING): Promise<void> {
    const url = new URL(this.#location);
    url.searchParams.set('digest', digest);
    try {
      discard(await this.#place.client.request(this.#request('PUT', url, body)));
    } catch (error) {
      const isWhole = this.#offset === 0 && body.length > 0;
      if (isWhole && REFUSES_WHOLE.has(statusOf(error))) throw new BodyRefused(error as CacheError, body.length);
      throw this.#orLost(error, LOST_AT_END);
    }
    this.#offset += body.length;
  }

  /**
   * Asks how far the registry is, after a failure.
   *
   * @returns false when it knows nothing of the upload any more
   */
  async recover(): Promise<boolean> {
    const response = await this.#place.client.request({
      ...requestTo(this.#place, ''),
      method: 'GET',
      target: this.#location,
      purpose: `go on with writing ${this.#what}`,
      accept: [400, 404, 405, 409, 410, 416, 501],
      signal: this.#signal,
    });
    discard(response);
    const known = endOf(response);
    // Where it does not say, nothing can be added to it.
    if (response.status >= 300 || known === undefined) return false;
    this.#moveOn(response);
    this.#offset = known;
    return true;
  }

  /** An answer may name the address for the next request; where it names none or an empty one, that stays. */
  #moveOn(response: RegistryResponse): void {
    const { location } = response.headers;
    const asked = { ...this.#place, purpose: `write ${this.#what}` };
    if (location !== undefined && location !== '')
      this.#location = this.#place.client.addressIn(location, response, asked);
  }

  #request(method: 'PATCH' | 'PUT', target: URL, { length, open }: Body): RegistryRequest {
    const end = this.#offset + length - 1;
    return {
      ...requestTo(this.#place, ''),
      method,
      target,
      purpose: `write ${this.#what}`,
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': `${length}`,
        // Without a unit before it, unlike everywhere else in HTTP.
        ...(length > 0 && (method === 'PATCH' || this.#offset > 0)
          ? { 'content-range': `${this.#offset}-${end}` }
          : {}),
      },
      ...(length > 0 ? { body: open } : {}),
      timeout: FINISH_TIMEOUT,
      retry: false,
      signal: this.#signal,
    };
  }

  /** A refusal that `recover` may overcome, as a transient error; other errors come back as they are. */
  #orLost(error: unknown, statuses: ReadonlySet<number | undefined>): unknown {
    const status = statusOf(error);
    if (status === undefined || !statuses.has(status)) return error;
    const what = status === 404 ? 'the registry no longer knows the upload' : 'the registry has another offset';
    const message = `${nameOf(this.#place)}: cannot write ${this.#what}: ${what} (HTTP ${status})`;
    const hint = 'the registry loses uploads; perhaps several servers answer for it that do not share their uploads';
    return new TransientError(message, { side: this.#place.side, attempts: LOST_ATTEMPTS, hint });
  }
}

function opening(what: string): string {
  return `start to write ${what}`;
}

async function post(
  place: RegistryPlace,
  what: string,
  mount: Mount | undefined,
  signal: AbortSignal | undefined,
): Promise<RegistryResponse> {
  const { target, scopes, ...request } = requestTo(place, 'blobs/uploads/');
  const query = mount && new URLSearchParams({ mount: mount.digest, from: mount.from }).toString();
  const response = await place.client.request({
    ...request,
    method: 'POST',
    target: query === undefined ? target : `${target}?${query}`,
    scopes: [...scopes, ...(mount ? [`repository:${mount.from}:pull`] : [])],
    purpose: opening(what),
    headers: { 'content-length': '0' },
    hint: 'some registries want a repository to be made before anything is pushed to it',
    signal,
  });
  discard(response);
  return response;
}

/** Behind the last byte that the registry has; an empty upload may say `0-0` as well as `0--1`. */
function endOf({ headers }: RegistryResponse): number | undefined {
  const [, last] = /^(?:bytes[= ])?0-(-?\d+)$/.exec(headerOf(headers, 'range') ?? '') ?? [];
  return last === undefined ? undefined : Number(last) + (last === '0' ? 0 : 1);
}
