import { CacheError } from '../../errors.js';
import { readWhole } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { Blobs } from '../blobs/blobs.js';
import { manifestIn, startsAsJson } from '../../oci/successors.js';

/** A manifest among blobs that no tag needs. */
export interface UntaggedManifest {
  readonly digest: Digest;
  /** The manifest that it refers to: image-spec manifest.md, `subject`. */
  readonly subject: Digest | undefined;
}

/** The manifests among some blobs, up to the size of documents that are read at all; damaged ones are left out. */
export async function untaggedManifests(
  blobs: Blobs,
  among: readonly BlobId[],
  signal?: AbortSignal,
): Promise<readonly UntaggedManifest[]> {
  const found: UntaggedManifest[] = [];
  for (const blob of among) {
    if (blob.size > JSON_LIMIT) continue;
    const content = blobs.content(blob.digest);
    try {
      if (!(await startsAsJson(content.open({ end: 64 }, signal)))) continue;
      const bytes = await readWhole(content, blob, blobs.path(blob.digest), { limit: JSON_LIMIT, signal });
      const manifest = manifestIn(bytes);
      if (manifest !== undefined) found.push({ digest: blob.digest, ...manifest });
    } catch (error) {
      if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
    }
  }
  return found;
}
