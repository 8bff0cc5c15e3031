import { createHash, randomBytes } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { decompress } from 'zstd-napi';
import type { BlobId } from '../../src/oci/descriptor.js';
import type { Digest } from '../../src/oci/digest.js';

// Layers and blobs by other means than bkcache's own codecs and digests.

/** The digest of bytes. */
export function digestOfBytes(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** The tar of a layer. */
export function unpack(bytes: Buffer, mediaType: string): Buffer {
  if (mediaType.endsWith('gzip')) return gunzipSync(bytes);
  return mediaType.endsWith('zstd') ? decompress(bytes) : bytes;
}

/** Bytes, and what names them. */
export interface TestBlob {
  readonly bytes: Buffer;
  readonly blob: BlobId;
}

/** Bytes as a blob. */
export function blobOf(bytes: Buffer): TestBlob {
  return { bytes, blob: { digest: digestOfBytes(bytes) as Digest, size: bytes.length } };
}

/** A blob that no codec makes smaller and no place has yet; its size is in bytes. */
export function randomBlob(size: number): TestBlob {
  return blobOf(randomBytes(size));
}
