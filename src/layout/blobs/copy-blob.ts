import { wrongBytes, wrongSize } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { hashDigest, hasherFor } from '../../oci/digest.js';
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
  const { algorithm, hash } = hasherFor(expected.digest);
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  let size = 0;
  for (let length = files.read(from, buffer, size); length > 0; length = files.read(from, buffer, size)) {
    const chunk = buffer.subarray(0, length);
    size += length;
    if (size > expected.size) throw wrongSize(expected, `more than ${expected.size}`, where);
    hash.update(chunk);
    if (to !== undefined) files.write(to, chunk);
  }
  if (size < expected.size) throw wrongSize(expected, `${size}`, where);
  const digest = hashDigest(algorithm, hash);
  if (digest !== expected.digest) throw wrongBytes(expected, digest, where);
  return expected;
}
