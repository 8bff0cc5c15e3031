import type { FileHandle } from 'node:fs/promises';

/** In bytes. */
const GATHERED = 1024 * 1024;

/**
 * Writes pieces of bytes to a file one after the other: small ones together, and while the next ones come. Those that
 * come from a network are small, and each write of its own would be a task for a thread.
 */
export class GatheringWriter {
  readonly #file: FileHandle;
  #pieces: Uint8Array[] = [];
  #size = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /**
   * @param piece - must not be changed afterwards
   * @throws what an earlier write has thrown
   */
  async write(piece: Uint8Array): Promise<void> {
    this.#pieces.push(piece);
    this.#size += piece.length;
    if (this.#size >= GATHERED) await this.#flush();
  }

  /** Writes what is left, and waits for it. */
  async end(): Promise<void> {
    await this.#flush();
    await this.#writing;
  }

  async #flush(): Promise<void> {
    await this.#writing;
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#size = 0;
    this.#writing = writeAll(this.#file, pieces);
    // The next wait for it throws.
    this.#writing.catch(() => undefined);
  }
}

async function writeAll(file: FileHandle, pieces: readonly Uint8Array[]): Promise<void> {
  let left = pieces.filter(({ length }) => length > 0);
  while (left.length > 0) {
    const { bytesWritten } = await file.writev(left);
    left = after(left, bytesWritten);
  }
}

/** What is left of pieces without their first bytes. */
function after(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  return pieces.flatMap((piece) => {
    const rest = piece.subarray(Math.min(skip, piece.length));
    skip -= Math.min(skip, piece.length);
    return rest.length === 0 ? [] : [rest];
  });
}
