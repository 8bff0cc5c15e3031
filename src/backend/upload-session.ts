import { discard } from '../net/http.js';
import { headerOf, type RegistryResponse } from '../net/registry-client.js';
import { TransientError } from '../net/retry.js';
import type { Digest } from '../oci/digest.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';

/** A registry may take long to put a large blob in its place. In milliseconds. */
const FINISH_TIMEOUT = 600_000;

/** The registry takes no chunks. */
export class ChunksRefused extends Error {}

/** Bytes to send, made anew for each attempt. */
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
    this.#location = locationOf(opened);
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
   * @throws ChunksRefused, TransientError, CacheError
   */
  async append(body: Body): Promise<void> {
    const end = this.#offset + body.length;
    const response = await this.#send('PATCH', this.#location, body, [400, 405, 404, 411, 413, 415, 416, 501]);
    this.#checkLost(response);
    if (response.status >= 300) {
      discard(response);
      throw new ChunksRefused(`${nameOf(this.#place)}: HTTP ${response.status}`);
    }
    discard(response);
    this.#location = locationOf(response);
    const known = endOf(response);
    // It may take less than it was sent; some say nothing useful.
    this.#offset = known !== undefined && known > this.#offset && known < end ? known : end;
  }

  /** Sends the last bytes, if any are left, and makes a blob of all. */
  async finish(digest: Digest, body: Body = NOTHING): Promise<void> {
    const url = new URL(this.#location);
    url.searchParams.set('digest', digest);
    const response = await this.#send('PUT', url, body, [404, 416]);
    this.#checkLost(response);
    discard(response);
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
      accept: [400, 404, 405, 416],
      signal: this.#signal,
    });
    discard(response);
    if (response.status >= 300) return false;
    this.#location = locationOf(response, this.#location);
    this.#offset = endOf(response) ?? 0;
    return true;
  }

  #send(method: 'PATCH' | 'PUT', target: URL, { length, open }: Body, accept: number[]): Promise<RegistryResponse> {
    const end = this.#offset + length - 1;
    return this.#place.client.request({
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
      accept,
      retry: false,
      signal: this.#signal,
    });
  }

  /** The registry has another view of the upload than we do: that can be mended by asking it. */
  #checkLost(response: RegistryResponse): void {
    if (response.status !== 404 && response.status !== 416) return;
    discard(response);
    const what = response.status === 404 ? 'the upload is not known any more' : 'the offset is not the right one';
    throw new TransientError(`${nameOf(this.#place)}: cannot write ${this.#what}: ${what}`, { side: this.#place.side });
  }
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
    purpose: `start to write ${what}`,
    headers: { 'content-length': '0' },
    hint: 'some registries want a repository to be made before anything is pushed to it',
    signal,
  });
  discard(response);
  return response;
}

function locationOf({ headers, url }: RegistryResponse, fallback = url): URL {
  return headers.location === undefined ? fallback : new URL(headers.location, url);
}

/** Behind the last byte that the registry has; an empty upload may say `0-0` as well as `0--1`. */
function endOf({ headers }: RegistryResponse): number | undefined {
  const [, last] = /^(?:bytes[= ])?0-(-?\d+)$/.exec(headerOf(headers, 'range') ?? '') ?? [];
  return last === undefined ? undefined : Number(last) + (last === '0' ? 0 : 1);
}
