import type { FileHandle } from 'node:fs/promises';
import { realpath, stat } from 'node:fs/promises';
import { CacheError, isSystemError } from '../../errors.js';
import { openRegular } from '../../layout/files/open-file.js';
import type { Content } from '../../oci/content.js';

/** The largest buffer, in bytes. */
const READ_SIZE = 1024 * 1024;

interface Part {
  readonly path: string;
  readonly handle: FileHandle;
  /** Its first byte in the bundle. */
  readonly start: number;
  readonly size: number;
}

/** The bytes of a bundle, in one file or in the parts that follow each other, read at any offset. */
export class BundleFile implements AsyncDisposable {
  readonly size: number;
  readonly #parts: readonly Part[];

  private constructor(parts: readonly Part[]) {
    this.#parts = parts;
    this.size = parts.reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * @param paths - the parts in order
   * @throws CacheError NOT_FOUND for a missing file, CORRUPT for anything else that is no regular file
   */
  static async open(paths: readonly string[]): Promise<BundleFile> {
    const parts: Part[] = [];
    let start = 0;
    try {
      for (const path of paths) {
        const part = await openPart(path, start);
        parts.push(part);
        start += part.size;
      }
      return new BundleFile(parts);
    } catch (error) {
      await closeAll(parts);
      throw error;
    }
  }

  /** The file and the byte in it, for messages. */
  at(offset: number): string {
    const { path, start } = this.#partOf(offset);
    return `${path}, byte ${offset - start}`;
  }

  /** From one byte to as many as asked for; none at the end. */
  async read(offset: number, most: number): Promise<Buffer> {
    if (offset >= this.size) return Buffer.alloc(0);
    const { handle, start, size } = this.#partOf(offset);
    const length = Math.min(most, start + size - offset);
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(length), 0, length, offset - start);
    return buffer.subarray(0, bytesRead);
  }

  /** The bytes from an offset on; it ends early where the file does. */
  section(offset: number, size: number): Content {
    const { read } = { read: this.read.bind(this) };
    return {
      size,
      place: this.at(offset),
      async *open({ start = 0, end = size } = {}, signal) {
        const last = offset + Math.min(end, size);
        for (let at = offset + start; at < last;) {
          signal?.throwIfAborted();
          const bytes = await read(at, Math.min(READ_SIZE, last - at));
          if (bytes.length === 0) return;
          at += bytes.length;
          yield bytes;
        }
      },
    };
  }

  /** The bytes from an offset to the end, in small pieces, for those who read headers. */
  async *from(offset: number, piece: number): AsyncGenerator<Buffer, void, undefined> {
    for (let at = offset; ;) {
      const bytes = await this.read(at, piece);
      if (bytes.length === 0) return;
      at += bytes.length;
      yield bytes;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await closeAll(this.#parts);
  }

  #partOf(offset: number): Part {
    const found = this.#parts.find(({ start, size }) => offset < start + size) ?? this.#parts.at(-1);
    if (found === undefined) throw new RangeError('a bundle has a file');
    return found;
  }
}

async function openPart(path: string, start: number): Promise<Part> {
  // The user may name a link.
  const real = await realpath(path).catch((error: unknown) => {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG')) throw error;
    throw new CacheError('NOT_FOUND', `there is no file ${path}`, { hint: 'check the path' });
  });
  if ((await stat(real)).isDirectory()) {
    throw new CacheError('USAGE', `${path} is a folder, and a bundle is a file`, {
      hint: `a folder of caches is type=local,src=${path}`,
    });
  }
  const handle = await openRegular(real);
  return { path, handle, start, size: (await handle.stat()).size };
}

async function closeAll(parts: readonly Part[]): Promise<void> {
  for (const { handle } of parts) await handle.close();
}
