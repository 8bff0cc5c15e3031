import { BlobHash } from '../oci/blob-hash.js';
import type { BlobId } from '../oci/descriptor.js';
import type { JobFiles } from '../thread/job-files.js';
import type { Decompressed, DecompressOptions } from './original-tar.js';
import { decompress, type Recompressed, recompress, type RecompressOptions } from './recompress.js';

// The tasks of threads for layers in files. Files are named by file descriptors.

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
  // The digest of an uncompressed layer is its diffID, which is computed anyway.
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
