import { type FileHandle, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { CacheError, isSystemError } from '../../errors.js';
import { syncFile, syncFolder } from '../../layout/files/durable.js';
import { GatheringWriter } from '../../layout/files/gathering-writer.js';
import { createFile } from '../../layout/files/open-file.js';
import { realPath } from '../local/real-path.js';
import { BundleFolder } from './bundle-folder.js';
import { inheritOwnership } from '../../layout/files/ownership.js';

/** Takes the bytes of a bundle. What is not finished leaves nothing behind. */
export interface BundleOutput extends AsyncDisposable {
  write(chunk: Uint8Array): Promise<void>;
  /** Publishes what was written. */
  finish(): Promise<void>;
}

/**
 * Makes sure that a bundle can take a path: a device or pipe must not be replaced by a file.
 *
 * @throws CacheError USAGE, NOT_FOUND
 */
export async function refusePlace(path: string): Promise<void> {
  const stats = await stat(path).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  });
  const details = { hint: 'name a file, or - for stdout', side: 'export' } as const;
  if (stats?.isDirectory() === true) {
    throw new CacheError('USAGE', `${path} is a folder, and this writes a file`, details);
  }
  if (stats !== undefined && !stats.isFile()) {
    throw new CacheError('USAGE', `${path} is no regular file, and would be replaced`, details);
  }
  const parent = await stat(dirname(path)).catch(() => undefined);
  if (parent?.isDirectory() === true) return;
  throw new CacheError('NOT_FOUND', `there is no folder ${dirname(path)} for the file`, {
    hint: 'make the folder first',
    side: 'export',
  });
}

/** A file that appears whole: it is written in another folder of the same filesystem, and renamed. */
export class FileOutput implements BundleOutput {
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: FileHandle;
  readonly #writer: GatheringWriter;
  readonly #durable: boolean;
  #isOpen = true;

  private constructor(path: string, temporary: string, file: FileHandle, durable: boolean) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
    this.#writer = new GatheringWriter(file);
    this.#durable = durable;
  }

  /** @param folder - for the file until it is whole */
  static async create(path: string, folder: string, durable: boolean): Promise<FileOutput> {
    const temporary = join(folder, 'bundle');
    return new FileOutput(path, temporary, await createFile(temporary), durable);
  }

  async write(chunk: Uint8Array): Promise<void> {
    await this.#writer.write(chunk);
  }

  async finish(): Promise<void> {
    await this.#writer.end();
    inheritOwnership(this.#file.fd, this.#path);
    if (this.#durable) await syncFile(this.#file);
    await this.#close();
    await rename(this.#temporary, this.#path);
    if (this.#durable) await syncFolder(dirname(this.#path));
  }

  async #close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What is still on its way into the file would fail, and is told by then.
    await this.#writer.end().catch(() => undefined);
    await this.#close();
  }
}

/** Writes a file whole, or not at all: by the same means as a bundle. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const real = await realPath(path);
  await refusePlace(real);
  await using folder = await BundleFolder.make(real);
  await using output = await FileOutput.create(real, folder.path, true);
  await output.write(bytes);
  await output.finish();
}

/** A stream that takes a bundle, such as stdout. It is not ended, since it may be the caller's for more. */
export class StreamOutput implements BundleOutput {
  readonly #stream: Writable;

  constructor(stream: Writable) {
    this.#stream = stream;
  }

  /** @throws CacheError FAILED when the reader at the other end of a pipe has gone */
  async write(chunk: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const onError = (error: Error) => done(error);
      const done = (error?: Error | null) => {
        this.#stream.off('error', onError);
        if (error) reject(explained(error));
        else resolve();
      };
      this.#stream.once('error', onError);
      this.#stream.write(chunk, done);
    });
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function explained(cause: Error): Error {
  if (!isSystemError(cause, 'EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END')) return cause;
  return new CacheError('FAILED', 'the reader of the bundle went away before its end', {
    hint: 'see what ended the other side of the pipe: there, nothing was published',
    side: 'export',
    cause,
  });
}
