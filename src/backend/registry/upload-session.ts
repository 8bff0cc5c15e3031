import type { CacheError } from '../../errors.js';
import { discard } from '../../net/http/http.js';
import { statusOf } from '../../net/registry/registry-error.js';
import { headerOf, type RegistryRequest, type RegistryResponse } from '../../net/registry/registry-request.js';
import { TransientError } from '../../net/http/retry.js';
import type { Digest } from '../../oci/digest.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';

/** The limit for the last request: a registry may need long to store a large blob. In milliseconds. */
const FINISH_TIMEOUT = 600_000;

/**
 * Statuses that refuse a chunk for its size, or refuse all chunks. Registries and proxies use many of them: GitHub's
 * registry answers 416 above 4 MiB.
 */
const REFUSES_CHUNK: ReadonlySet<number | undefined> = new Set([400, 405, 411, 413, 415, 501]);
/** Statuses that refuse the first chunk for its size, and for a later chunk mean that the registry has lost the upload. */
const LOST: ReadonlySet<number | undefined> = new Set([404, 409, 416, 422]);
const LOST_AT_END: ReadonlySet<number | undefined> = new Set([404, 416]);
/** How many uploads in a row the registry may lose without progress. A restart loses the uploads of a registry once. */
const LOST_ATTEMPTS = 3;
/** Statuses that refuse a blob in one request for its size. */
const REFUSES_WHOLE: ReadonlySet<number | undefined> = new Set([413, 416]);

/** The registry refuses a body of this size. The cause is its refusal. */
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

/** The bytes of a request; `open` makes them again for each attempt. */
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
 * One upload of a blob: distribution-spec, "Pushing blobs". The Location of each response is the URL of the next request.
 * Requests are not retried here; after a failure, `recover` asks the registry for the offset.
 */
export class UploadSession {
  readonly #place: RegistryPlace;
  readonly #signal: AbortSignal | undefined;
  readonly #what: string;
  #location: URL;
  #offset = 0;
  /** The registry's smallest chunk, in bytes. */
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
   * Mounts a blob from another repository of the registry. If the registry does not mount it, this opens an upload.
   *
   * @returns undefined when the blob is mounted
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
    // The registry may accept fewer bytes than were sent; some registries send no usable range.
    this.#offset = known !== undefined && known > this.#offset && known < end ? known : end;
  }

  /**
   * Sends the last bytes, if any, and closes the upload as a blob.
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
   * Asks the registry for the offset of the upload, after a failure.
   *
   * @returns false when the registry has lost the upload
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
    // Without an offset the upload cannot be continued.
    if (response.status >= 300 || known === undefined) return false;
    this.#moveOn(response);
    this.#offset = known;
    return true;
  }

  /** Takes the URL for the next request from a response; without a Location, or with an empty one, the URL stays. */
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
        // distribution-spec writes the range without a unit, unlike HTTP.
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
    hint: 'some registries need a repository to be created before the first push',
    signal,
  });
  discard(response);
  return response;
}

/** The offset after the last byte that the registry has. For an empty upload, registries send `0-0` or `0--1`. */
function endOf({ headers }: RegistryResponse): number | undefined {
  const [, last] = /^(?:bytes[= ])?0-(-?\d+)$/.exec(headerOf(headers, 'range') ?? '') ?? [];
  return last === undefined ? undefined : Number(last) + (last === '0' ? 0 : 1);
}
