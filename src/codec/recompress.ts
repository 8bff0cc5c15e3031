import type { FileHandle } from 'node:fs/promises';
import type { Content } from '../oci/content.js';
import type { Digest } from '../oci/digest.js';
import { type FileContent, isLargeFile, withFile } from '../thread/large-file.js';
import type { Encoding } from './compression.js';
import { encode } from './encode.js';
import type { Estargz } from './estargz/encode-estargz.js';
import type { decompressFile, recompressFile } from './file-tasks.js';
import { type Decompressed, type DecompressOptions, originalTar } from './original-tar.js';

/** The options of a recompression; plain data, so that another thread can get them. */
export interface RecompressOptions extends DecompressOptions {
  readonly encoding: Encoding;
  /** How many threads zstd may use; as many as there are cores by default. */
  readonly threads?: number | undefined;
}

/** A layer that is recompressed while it is read. */
interface Recompression {
  readonly content: Content;
  /** There once `content` was read or written to its end. */
  readonly result: () => Recompressed;
}

/** What a layer became, without its bytes. */
export interface Recompressed {
  /** The digest of what the new blob decompresses to. */
  readonly diffID: Digest;
  /** There for estargz. */
  readonly estargz?: Estargz;
  readonly source: Decompressed;
}

const TASKS = new URL('./file-tasks.js', import.meta.url);

/**
 * Recompresses a layer. Its tar is not made again: the uncompressed bytes stay the same, and so does the diffID. For eStargz
 * the result is the original tar, without the table of contents after it.
 *
 * The source's size, digest and diffID are checked on the way; reading `content` throws CacheError CORRUPT where one
 * is wrong. From a file to a file, the work is done in another thread.
 */
export function recompress(source: Content, options: RecompressOptions): Recompression {
  let result: Recompressed | undefined;
  const inThread = async (file: FileContent, to: FileHandle, signal?: AbortSignal) => {
    result = undefined;
    const { blob, recompressed } = await withFile<typeof recompressFile>(
      file,
      (from) => ({ module: TASKS, task: 'recompressFile', input: { from, to: to.fd, options } }),
      signal,
    );
    result = recompressed;
    return blob;
  };
  return {
    content: {
      ...(isLargeFile(source, options.blob.size) ? { writeTo: (to, signal) => inThread(source, to, signal) } : {}),
      async *open(_range, signal) {
        result = undefined;
        result = yield* recompressed(source, options, signal);
      },
    },
    result() {
      if (result === undefined) throw new Error('the layer has not been read to its end');
      return result;
    },
  };
}

/**
 * Decompresses a blob, and drops the bytes. Its size, digest, diffID and table of contents are checked on the way; a file of some
 * size is read in another thread.
 *
 * @throws CacheError CORRUPT; FAILED for more bytes than `maxSize`
 */
export async function decompress(
  source: Content,
  options: DecompressOptions,
  signal?: AbortSignal,
): Promise<Decompressed> {
  if (isLargeFile(source, options.blob.size)) {
    return withFile<typeof decompressFile>(
      source,
      (from) => ({ module: TASKS, task: 'decompressFile', input: { from, options } }),
      signal,
    );
  }
  const tar = originalTar(source, options, signal);
  for (let next = await tar.next(); ; next = await tar.next()) if (next.done === true) return next.value;
}

async function* recompressed(
  source: Content,
  options: RecompressOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, Recompressed, undefined> {
  let decompressed: Decompressed | undefined;
  const tar = withReturn(originalTar(source, options, signal), (value) => {
    decompressed = value;
  });
  const name = `${options.where}: blob ${options.blob.digest}`;
  const estargz = yield* encode(tar, options.encoding, { where: name, threads: options.threads });
  if (decompressed === undefined) throw new Error('the tar was not read to its end');
  return estargz === undefined
    ? { diffID: decompressed.tar, source: decompressed }
    : { diffID: estargz.diffID, estargz, source: decompressed };
}

/** Passes on what a generator yields, and tells what it returns. */
async function* withReturn<T, R>(
  generator: AsyncGenerator<T, R, undefined>,
  onReturn: (value: R) => void,
): AsyncGenerator<T, void, undefined> {
  onReturn(yield* generator);
}
