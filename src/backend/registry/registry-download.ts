import { CacheError } from '../../errors.js';
import { codingsOf, decoded } from '../../net/http/content-encoding.js';
import { discard } from '../../net/http/http.js';
import { headerOf, type RegistryResponse } from '../../net/registry/registry-request.js';
import { Backoff, TransientError } from '../../net/http/retry.js';
import type { Content, Range } from '../../oci/content.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';

interface DownloadOptions {
  /** The size of the blob or manifest, in bytes. */
  readonly size: number;
  /** The accepted media types. */
  readonly accept?: string;
  /** For messages: the blob or manifest. */
  readonly what: string;
}

/**
 * The bytes at a path of a repository, unverified. When the connection breaks, the download resumes at the first missing
 * byte (RFC 9110, 14: Range), as long as it makes progress.
 */
export function downloadOf(place: RegistryPlace, path: string, options: DownloadOptions): Content {
  return {
    size: options.size,
    async *open({ start = 0, end = options.size } = {}, signal) {
      // An empty range needs no request, except for an empty blob, whose existence is checked.
      if (start < Math.min(end, options.size) || start === 0) {
        yield* new Download(place, path, options, { start, end }, signal).run();
      }
    },
  };
}

/** A response, and the offset of its first byte. */
interface Part {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** In bytes. */
  readonly first: number;
}

class Download {
  readonly #place: RegistryPlace;
  readonly #path: string;
  readonly #options: DownloadOptions;
  readonly #start: number;
  readonly #end: number;
  readonly #signal: AbortSignal | undefined;
  readonly #purpose: string;
  /** Whether the range reaches the end: then bytes after the end are passed on, so that the reader notices them. */
  readonly #isWhole: boolean;
  /** Whether range requests are used. */
  #inParts = true;
  /** Whether a Content-Encoding header is true, or only describes the blob's own compression; undefined while unknown. */
  #isCoded: boolean | undefined;
  #answered: RegistryResponse | undefined;

  constructor(
    place: RegistryPlace,
    path: string,
    options: DownloadOptions,
    { start, end }: Required<Range>,
    signal: AbortSignal | undefined,
  ) {
    this.#place = place;
    this.#path = path;
    this.#options = options;
    this.#start = start;
    this.#end = end;
    this.#signal = signal;
    this.#purpose = `read ${options.what}`;
    this.#isWhole = end >= options.size;
  }

  async *run(): AsyncGenerator<Uint8Array, void, undefined> {
    const { client } = this.#place;
    const backoff = new Backoff(client.policy);
    let at = this.#start;
    for (;;) {
      try {
        const part = await this.#ask(at);
        if (part === undefined) continue;
        // Bytes that were received before are skipped.
        let skip = at - part.first;
        for await (const chunk of part.bytes) {
          const fresh = chunk.subarray(Math.min(skip, chunk.length), this.#isWhole ? undefined : skip + this.#end - at);
          skip -= Math.min(skip, chunk.length);
          at += fresh.length;
          if (fresh.length > 0) {
            backoff.reached(at - this.#start);
            yield fresh;
          }
          if (!this.#isWhole && at >= this.#end) return;
        }
        if (at >= this.#end) return;
        if (!this.#inParts) throw this.#gone('size');
        // A wrong Content-Length would repeat with every attempt; the reader's check of the size reports it.
        if (this.#answered?.headers['content-length'] !== undefined) return;
        throw new TransientError(this.#message(`it ended after ${at} of ${this.#options.size} bytes`));
      } catch (error) {
        this.#signal?.throwIfAborted();
        // All bytes have arrived; only the end of the connection failed.
        if (at >= this.#end && at > this.#start) return;
        const failure = client.failure(error, { ...this.#place, purpose: this.#purpose }, this.#answered?.url);
        await backoff.wait(failure instanceof CacheError ? failure.on(this.#place.side) : failure, this.#signal);
      }
    }
  }

  /** @returns undefined when the request has to be repeated in another form */
  async #ask(at: number): Promise<Part | undefined> {
    const { size, accept } = this.#options;
    const isPart = this.#inParts && (at > 0 || !this.#isWhole);
    const response = await this.#place.client.request({
      ...requestTo(this.#place, this.#path),
      method: 'GET',
      purpose: this.#purpose,
      headers: {
        ...(accept === undefined ? {} : { accept }),
        ...(isPart ? { range: `bytes=${at}-${this.#isWhole ? '' : this.#end - 1}` } : {}),
      },
      accept: isPart ? [404, 416] : [404],
      signal: this.#signal,
    });
    this.#answered = response;
    const { status, headers } = response;
    if (status === 404) {
      discard(response);
      throw this.#gone('missing');
    }
    const [, first, total] = /^bytes (\d+)-\d*\/(\d+|\*)$/.exec(headers['content-range'] ?? '') ?? [];
    const length = status === 206 ? total : headerOf(headers, 'content-length');
    const isLabelled = codingsOf(headers).length > 0;
    if (isLabelled && this.#isCoded === undefined && status !== 416) {
      if (status === 206 || length !== undefined) this.#isCoded = Number(length) !== size;
      else {
        // Without a length, only the whole body shows its size.
        this.#isCoded = (await countBytes(response, size)) !== size;
        return undefined;
      }
    }
    const isCoded = isLabelled && this.#isCoded === true;
    if (status === 416 || (status === 206 && (Number(first) !== at || isCoded))) {
      response.body.destroy();
      if (!isPart) throw new CacheError('UNREACHABLE', this.#message(`it came as ${headers['content-range'] ?? '?'}`));
      // Without range requests, the download starts from the first byte.
      this.#inParts = false;
      return undefined;
    }
    const bytes = isCoded ? decoded(response) : (response.body as AsyncIterable<Uint8Array>);
    return { bytes, first: status === 206 ? at : 0 };
  }

  #gone(wrong: 'missing' | 'size'): CacheError {
    const how = wrong === 'missing' ? 'is missing' : 'is shorter than it should be';
    return new CacheError('CORRUPT', `${nameOf(this.#place)}: ${this.#options.what} ${how}`, {
      hint: 'the cache is incomplete; perhaps the registry has deleted blobs; export it again',
      side: this.#place.side,
      wrong,
    });
  }

  #message(text: string): string {
    return `${nameOf(this.#place)}: cannot ${this.#purpose}: ${text}`;
  }
}

/** How many bytes a response has; it stops counting above the limit. */
async function countBytes({ body }: RegistryResponse, limit: number): Promise<number> {
  let length = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > limit) break;
  }
  return length;
}
