import { Backoff } from '../../net/http/retry.js';
import { BlobHash } from '../../oci/blob-hash.js';
import { type Content, contentOf, hashContent } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { RegistryPlace } from './registry-place.js';
import { uploadBlob } from './registry-upload.js';
import { type Body, BodyRefused, UploadSession } from './upload-session.js';

const MIB = 1024 * 1024;
/** What is held of a stream whose digest shows at its end, so that it can be sent again. In bytes. */
const BUFFER = 8 * MIB;
/** The most that is held of one where the registry wants larger chunks, in bytes. */
const LARGEST_BUFFER = 32 * MIB;

/** The registry knows nothing of an upload any more whose first bytes are not held any more. */
class UploadLost extends Error {}

/** The registry takes no chunks that can be held. */
class NoChunks extends Error {}

/**
 * Writes a blob whose digest shows when all of it was read. What fits into memory is a blob like any other; the rest
 * goes in chunks, of which one at a time is held. Where the registry takes no chunks, all is read twice.
 *
 * @param has - whether a blob is there
 */
export async function uploadStream(
  place: RegistryPlace,
  content: Content,
  has: (blob: BlobId) => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<BlobId> {
  const backoff = new Backoff(place.client.policy);
  for (;;) {
    try {
      return await new StreamUpload(place, has, backoff, signal).run(content);
    } catch (error) {
      if (error instanceof NoChunks) return uploadTwice(place, content, has, signal);
      // All is read again.
      if (!(error instanceof UploadLost)) throw error;
    }
  }
}

class StreamUpload {
  readonly #place: RegistryPlace;
  readonly #has: (blob: BlobId) => Promise<boolean>;
  readonly #backoff: Backoff;
  readonly #signal: AbortSignal | undefined;
  readonly #hash = new BlobHash();
  #session: UploadSession | undefined;
  /** What was read and not sent. */
  #buffer = Buffer.allocUnsafe(64 * 1024);
  #held = 0;
  #limit = BUFFER;
  /** What the registry has, in bytes. */
  #sent = 0;

  constructor(
    place: RegistryPlace,
    has: (blob: BlobId) => Promise<boolean>,
    backoff: Backoff,
    signal: AbortSignal | undefined,
  ) {
    this.#place = place;
    this.#has = has;
    this.#backoff = backoff;
    this.#signal = signal;
  }

  async run(content: Content): Promise<BlobId> {
    for await (const bytes of content.open({}, this.#signal)) {
      this.#hash.update(bytes);
      for (let at = 0; at < bytes.length;) {
        // Only now it is known that there is more.
        if (this.#held === this.#limit) await this.#drain(false);
        at += this.#hold(bytes.subarray(at));
      }
    }
    if (this.#session !== undefined) await this.#drain(true);
    const rest = this.#buffer.subarray(0, this.#held);
    const blob = this.#hash.finish();
    const has = () => this.#has(blob);
    if (this.#session !== undefined && this.#sent > 0) await this.#finish(this.#session, blob, rest);
    else if (rest.length === 0 || !(await has())) {
      await uploadBlob(this.#place, contentOf(rest), blob, has, this.#signal);
    }
    return blob;
  }

  /** @returns how much of the bytes there is room for */
  #hold(bytes: Uint8Array): number {
    if (this.#held === this.#buffer.length) {
      // Most layers are small: it grows as it is needed.
      const larger = Buffer.allocUnsafe(Math.min(this.#limit, this.#buffer.length * 4));
      this.#buffer.copy(larger);
      this.#buffer = larger;
    }
    const part = bytes.subarray(0, Math.min(this.#buffer.length, this.#limit) - this.#held);
    this.#buffer.set(part, this.#held);
    this.#held += part.length;
    return part.length;
  }

  /**
   * Sends what is held in chunks.
   *
   * @param isLast - whether nothing comes after it: then what is left of it fits into one request, and otherwise it is
   *   less than a chunk
   */
  async #drain(isLast: boolean): Promise<void> {
    const { abilities } = this.#place.client;
    let start = 0;
    for (;;) {
      const session = (this.#session ??= await UploadSession.open(this.#place, 'a blob', this.#signal));
      const { minimum } = session;
      const chunk = abilities.chunk(Math.max(BUFFER, Math.min(minimum, LARGEST_BUFFER)), minimum);
      if (chunk === undefined) throw new NoChunks();
      this.#limit = Math.max(BUFFER, chunk);
      const left = this.#held - start;
      if (isLast ? left <= chunk : left < chunk) break;
      try {
        await this.#append(session, this.#buffer.subarray(start, start + chunk));
        start += chunk;
      } catch (error) {
        if (!(error instanceof BodyRefused)) throw error;
        abilities.refuseChunk(error.size);
        // What was taken before was in chunks that are not taken now.
        if (this.#sent > 0) throw new UploadLost();
        this.#session = undefined;
      }
    }
    this.#buffer.copyWithin(0, start, this.#held);
    this.#held -= start;
  }

  /** Sends a chunk, and that part of it again that got lost. */
  async #append(session: UploadSession, bytes: Uint8Array): Promise<void> {
    const start = this.#sent;
    const end = start + bytes.length;
    while (session.offset < end) {
      try {
        await session.append(bodyOf(bytes.subarray(session.offset - start)));
      } catch (error) {
        await this.#recover(error, session, start, end);
      }
    }
    this.#sent = end;
  }

  /** Sends the rest, and makes a blob of all. */
  async #finish(session: UploadSession, { digest, size }: BlobId, rest: Uint8Array): Promise<void> {
    const start = this.#sent;
    for (;;) {
      try {
        await session.finish(digest, bodyOf(rest.subarray(session.offset - start)));
        return;
      } catch (error) {
        try {
          await this.#recover(error, session, start, size);
        } catch (lost) {
          // It was written, and only the answer did not arrive.
          if (lost instanceof UploadLost && (await this.#has({ digest, size }))) return;
          throw lost;
        }
      }
    }
  }

  async #recover(error: unknown, session: UploadSession, start: number, end: number): Promise<void> {
    await this.#backoff.wait(error, this.#signal);
    if (!(await session.recover()) || session.offset < start || session.offset > end) throw new UploadLost();
    this.#backoff.reached(session.offset);
  }
}

function bodyOf(bytes: Uint8Array): Body {
  return { length: bytes.length, open: () => contentOf(bytes).open() };
}

/** The same bytes are made twice, first for their digest. */
async function uploadTwice(
  place: RegistryPlace,
  content: Content,
  has: (blob: BlobId) => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<BlobId> {
  const blob = await hashContent(content, signal);
  if (await has(blob)) return blob;
  const again: Content = {
    size: blob.size,
    async *open({ start = 0 } = {}, inner) {
      let skip = start;
      for await (const chunk of content.open({}, inner)) {
        yield chunk.subarray(Math.min(skip, chunk.length));
        skip -= Math.min(skip, chunk.length);
      }
    },
  };
  await uploadBlob(place, again, blob, () => has(blob), signal);
  return blob;
}
