import { BlobCheck } from '../../oci/blob-hash.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { JobFiles } from '../../thread/job-files.js';

/** Fits into the cache of a core, in which it is read, hashed and written. */
const CHUNK = 256 * 1024;

/** A blob in an open file, and the file to copy it to. */
interface BlobCopy {
  readonly from: number;
  /** Left out where the bytes are only to be checked. */
  readonly to: number | undefined;
  readonly expected: BlobId;
  /** Where the bytes come from, for messages. */
  readonly where: string;
}

/**
 * Copies and checks a blob: a task for a thread. Each byte is read once, into the same memory again and again.
 *
 * @throws CacheError CORRUPT
 */
export function copyBlob({ from, to, expected, where }: BlobCopy, files: JobFiles): BlobId {
  const check = new BlobCheck(expected, where);
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  for (let at = 0; ;) {
    const length = files.read(from, buffer, at);
    if (length === 0) break;
    const chunk = buffer.subarray(0, length);
    check.update(chunk);
    if (to !== undefined) files.write(to, chunk);
    at += length;
  }
  check.finish();
  return expected;
}
