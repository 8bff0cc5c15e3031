import { BlobHash } from '../oci/blob-hash.js';
import type { BlobId } from '../oci/descriptor.js';
import type { JobFiles } from '../thread/job-files.js';
import type { Decompressed, DecompressOptions } from './original-tar.js';
import { decompress, type Recompressed, recompress, type RecompressOptions } from './recompress.js';

// What threads do with layers that are files. Files are named by their descriptors.

interface RecompressInput {
  readonly from: number;
  readonly to: number;
  readonly options: RecompressOptions;
}

/** `recompress`, from file to file. */
export async function recompressFile(
  { from, to, options }: RecompressInput,
  files: JobFiles,
): Promise<{ readonly blob: BlobId; readonly recompressed: Recompressed }> {
  const { content, result } = recompress(files.content(from), options);
  // What is not compressed has the digest of its tar, which is computed on the way as it is.
  const hash = options.encoding.compression === 'uncompressed' ? undefined : new BlobHash();
  let size = 0;
  for await (const chunk of content.open()) {
    hash?.update(chunk);
    files.write(to, chunk);
    size += chunk.length;
  }
  return { blob: hash?.finish() ?? { digest: result().diffID, size }, recompressed: result() };
}

interface DecompressInput {
  readonly from: number;
  readonly options: DecompressOptions;
}

/** `decompress`, from a file. */
export function decompressFile({ from, options }: DecompressInput, files: JobFiles): Promise<Decompressed> {
  return decompress(files.content(from), options);
}
