import { Backoff } from '../../net/http/retry.js';
import { BlobHash } from '../../oci/blob-hash.js';
import { type Content, contentOf, hashContent } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { RegistryPlace } from './registry-place.js';
import { uploadBlob } from './registry-upload.js';
import { type Body, BodyRefused, UploadSession } from './upload-session.js';

const MIB = 1024 * 1024;
/** The buffer for a stream whose digest is known only at its end, so that a chunk can be sent again. In bytes. */
const BUFFER = 8 * MIB;
/** The largest buffer, for a registry that needs larger chunks, in bytes. */
const LARGEST_BUFFER = 32 * MIB;

/** The registry has lost an upload whose first bytes are no longer in the buffer. */
class UploadLost extends Error {}

/** The registry accepts no chunks that fit the buffer. */
class NoChunks extends Error {}

/**
 * Writes a blob whose digest is known only after it was read. A blob that fits into the buffer is uploaded like any other;
 * a larger blob is sent in chunks, with one chunk in memory. If the registry accepts no chunks, the source is read twice.
 *
 * @param has - whether the registry has a blob
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
      // The source is read again from its beginning.
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
  /** The bytes that were read and not sent. */
  #buffer = Buffer.allocUnsafe(64 * 1024);
  #filled = 0;
  #limit = BUFFER;
  /** How many bytes the registry has. */
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
        // A full buffer is sent only when more bytes follow.
        if (this.#filled === this.#limit) await this.#drain(false);
        at += this.#fill(bytes.subarray(at));
      }
    }
    if (this.#session !== undefined) await this.#drain(true);
    const rest = this.#buffer.subarray(0, this.#filled);
    const blob = this.#hash.finish();
    const has = () => this.#has(blob);
    if (this.#session !== undefined && this.#sent > 0) await this.#finish(this.#session, blob, rest);
    else if (rest.length === 0 || !(await has())) {
      await uploadBlob(this.#place, contentOf(rest), blob, has, this.#signal);
    }
    return blob;
  }

  /** Adds bytes to the buffer. @returns how many of them fit */
  #fill(bytes: Uint8Array): number {
    if (this.#filled === this.#buffer.length) {
      // The buffer grows on demand, since most layers are small.
      const larger = Buffer.allocUnsafe(Math.min(this.#limit, this.#buffer.length * 4));
      this.#buffer.copy(larger);
      this.#buffer = larger;
    }
    const part = bytes.subarray(0, Math.min(this.#buffer.length, this.#limit) - this.#filled);
    this.#buffer.set(part, this.#filled);
    this.#filled += part.length;
    return part.length;
  }

  /**
   * Sends the buffer in chunks.
   *
   * @param isLast - whether the stream has ended: then a rest that fits into one request stays in the buffer, and
   *   otherwise a rest that is smaller than a chunk
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
      const left = this.#filled - start;
      if (isLast ? left <= chunk : left < chunk) break;
      try {
        await this.#append(session, this.#buffer.subarray(start, start + chunk));
        start += chunk;
      } catch (error) {
        if (!(error instanceof BodyRefused)) throw error;
        abilities.refuseChunk(error.size);
        // Earlier chunks of this upload are gone with it.
        if (this.#sent > 0) throw new UploadLost();
        this.#session = undefined;
      }
    }
    this.#buffer.copyWithin(0, start, this.#filled);
    this.#filled -= start;
  }

  /** Sends a chunk, and sends lost parts of it again. */
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

  /** Sends the rest, and closes the upload as a blob. */
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
          // The blob was written, and only the response was lost.
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

/** Reads the source twice: first for the digest, then for the upload. */
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
