import { rm } from 'node:fs/promises';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { GatheringWriter } from '../../layout/files/gathering-writer.js';
import { createFile } from '../../layout/files/open-file.js';
import { contentOfFile } from '../../backend/config/spool.js';
import type { Layout } from '../../layout/layout.js';
import type { PieceUpload } from '../gha/gha-store.js';
import { Refusal, textAnswer } from '../request.js';
import { FileUpload, refuseFullDisk, type SpaceLimits } from './blob-upload.js';

/** Azure takes so many blocks of one blob. */
const MAX_PIECES = 50_000;
const LOOK_EVERY = 16 * 1024 * 1024;

interface Piece {
  readonly path: string;
  readonly size: number;
}

/** Pieces of an upload, each in a temporary file of a layout, until they are put together. */
export class FolderPieces implements PieceUpload {
  readonly #layout: Layout;
  readonly #limits: SpaceLimits;
  readonly #leased: LeasedBlobs;
  readonly #pieces = new Map<string, Piece>();
  #joined: FileUpload | undefined;
  #isClosed = false;

  constructor(layout: Layout, limits: SpaceLimits) {
    this.#layout = layout;
    this.#limits = limits;
    this.#leased = new LeasedBlobs(layout);
  }

  get size(): number | undefined {
    return this.#joined?.size;
  }

  /** The bytes that were put together. */
  get joined(): FileUpload | undefined {
    return this.#joined;
  }

  sizeOf(id: string): number | undefined {
    return this.#pieces.get(id)?.size;
  }

  async put(id: string, bytes: AsyncIterable<Uint8Array>): Promise<number> {
    if (this.#isClosed || this.#pieces.size >= MAX_PIECES) throw refused(409, 'the upload takes no more blocks');
    const path = await this.#leased.lease.temporary();
    try {
      const piece = { path, size: await this.#write(path, bytes) };
      // The upload has ended meanwhile, and its files were removed.
      if (this.#isClosed) throw refused(409, 'the upload takes no more blocks');
      const old = this.#pieces.get(id);
      this.#pieces.set(id, piece);
      if (old !== undefined) await rm(old.path, { force: true });
      return piece.size;
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  async join(ids: readonly string[]): Promise<boolean> {
    const pieces = ids.map((id) => this.#pieces.get(id));
    if (pieces.includes(undefined)) return false;
    const size = pieces.reduce((sum, piece) => sum + (piece?.size ?? 0), 0);
    const upload = await FileUpload.begin(this.#layout, this.#limits, { algorithm: 'sha256', size });
    try {
      for (const piece of pieces) {
        if (piece !== undefined) await upload.append(contentOfFile(piece.path, piece.size).open());
      }
    } catch (error) {
      await upload[Symbol.asyncDispose]();
      throw error;
    }
    await this.#joined?.[Symbol.asyncDispose]();
    this.#joined = upload;
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#joined?.[Symbol.asyncDispose]();
    for (const { path } of this.#pieces.values()) await rm(path, { force: true });
    await this.#leased[Symbol.asyncDispose]();
  }

  async #write(path: string, bytes: AsyncIterable<Uint8Array>): Promise<number> {
    const file = await createFile(path);
    const writer = new GatheringWriter(file);
    const others = [...this.#pieces.values()].reduce((sum, { size }) => sum + size, 0);
    let size = 0;
    let nextLook = 0;
    try {
      for await (const chunk of bytes) {
        if (others + size + chunk.length > this.#limits.maxBlobSize) throw refused(413, 'the upload is too large');
        if (size >= nextLook) {
          await refuseFullDisk(this.#layout.root, this.#limits, LOOK_EVERY);
          nextLook = size + LOOK_EVERY;
        }
        size += chunk.length;
        await writer.write(chunk);
      }
      return size;
    } finally {
      try {
        await writer.end();
      } finally {
        await file.close();
      }
    }
  }
}

function refused(status: number, message: string): Refusal {
  return new Refusal(textAnswer(status, message), message);
}
