import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, rm, statfs } from 'node:fs/promises';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { syncFile } from '../../layout/files/durable.js';
import { GatheringWriter } from '../../layout/files/gathering-writer.js';
import { createFile } from '../../layout/files/open-file.js';
import { settleBlob } from '../../layout/files/ownership.js';
import type { Layout } from '../../layout/layout.js';
import {
  type Digest,
  type DigestAlgorithm,
  hashDigest,
  hasherFor,
  isKnownAlgorithm,
  splitDigest,
} from '../../oci/digest.js';
import type { BlobUpload } from '../registry/registry-store.js';
import { Refusal, textAnswer } from '../request.js';

/** After how many bytes the free space is looked at again. */
const LOOK_EVERY = 16 * 1024 * 1024;
const READ_SIZE = 1024 * 1024;

/** How much a client may write; in bytes. */
export interface SpaceLimits {
  /** Of one blob. */
  readonly maxBlobSize: number;
  /** What uploads leave free on the disk. */
  readonly keepFree: number;
}

/** Makes sure that there is room for some more bytes. @throws Refusal 507 */
export async function refuseFullDisk(root: string, { keepFree }: SpaceLimits, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(root);
  if (bavail * bsize - bytes >= keepFree) return;
  const message = 'the disk of the store is full';
  throw new Refusal(textAnswer(507, message), message);
}

function tooLarge({ maxBlobSize }: SpaceLimits): Refusal {
  const message = `a blob may have ${maxBlobSize} bytes at most`;
  return new Refusal(textAnswer(413, message), message);
}

/**
 * An upload into a temporary file of a layout, hashed on the way. The file becomes a blob in one step, synced, when its
 * digest is the right one.
 */
export class FileUpload implements BlobUpload {
  readonly #layout: Layout;
  readonly #limits: SpaceLimits;
  readonly #leased: LeasedBlobs;
  readonly #algorithm: DigestAlgorithm;
  readonly #hash: Hash;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #writer: GatheringWriter;
  #size = 0;
  #nextLook = 0;
  /** Whether bytes that were hashed have not reached the file. */
  #isBroken = false;
  #isClosed = false;

  private constructor(
    layout: Layout,
    limits: SpaceLimits,
    leased: LeasedBlobs,
    algorithm: DigestAlgorithm,
    path: string,
    file: FileHandle,
  ) {
    this.#layout = layout;
    this.#limits = limits;
    this.#leased = leased;
    this.#algorithm = algorithm;
    this.#hash = createHash(algorithm);
    this.#path = path;
    this.#file = file;
    this.#writer = new GatheringWriter(file);
  }

  static async begin(
    layout: Layout,
    limits: SpaceLimits,
    { algorithm, size }: { readonly algorithm: string; readonly size: number | undefined },
  ): Promise<FileUpload> {
    if (size !== undefined && size > limits.maxBlobSize) throw tooLarge(limits);
    await refuseFullDisk(layout.root, limits, size ?? 0);
    const leased = new LeasedBlobs(layout);
    try {
      const path = await leased.lease.temporary();
      const known = isKnownAlgorithm(algorithm) ? algorithm : 'sha256';
      return new FileUpload(layout, limits, leased, known, path, await createFile(path));
    } catch (error) {
      await leased[Symbol.asyncDispose]();
      throw error;
    }
  }

  get size(): number {
    return this.#size;
  }

  async append(bytes: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const chunk of bytes) {
        if (this.#size + chunk.length > this.#limits.maxBlobSize) throw tooLarge(this.#limits);
        if (this.#size >= this.#nextLook) {
          await refuseFullDisk(this.#layout.root, this.#limits, LOOK_EVERY);
          this.#nextLook = this.#size + LOOK_EVERY;
        }
        this.#hash.update(chunk);
        this.#size += chunk.length;
        await this.#write(() => this.#writer.write(chunk));
      }
    } finally {
      await this.#write(() => this.#writer.end());
    }
  }

  async #write(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.#isBroken = true;
      throw error;
    }
  }

  /** The digest of what has come so far. */
  get digest(): Digest {
    return hashDigest(this.#algorithm, this.#hash.copy());
  }

  async finish(digest: Digest): Promise<boolean> {
    if (this.#isBroken || (await this.#digest(digest)) !== digest) return false;
    settleBlob(this.#file.fd, this.#layout.root);
    if (this.#layout.settings.durable) await syncFile(this.#file);
    await this.#leased.place(this.#path, { digest, size: this.#size });
    await this.#leased.sync();
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#file.close();
    await rm(this.#path, { force: true });
    await this.#leased[Symbol.asyncDispose]();
  }

  async #digest(wanted: Digest): Promise<Digest> {
    if (splitDigest(wanted)[0] === this.#algorithm) return this.digest;
    // The client has not said which algorithm it would ask for.
    const { algorithm, hash } = hasherFor(wanted);
    const buffer = Buffer.allocUnsafe(READ_SIZE);
    for (let at = 0; ;) {
      const { bytesRead } = await this.#file.read(buffer, 0, READ_SIZE, at);
      if (bytesRead === 0) return hashDigest(algorithm, hash);
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  }
}
