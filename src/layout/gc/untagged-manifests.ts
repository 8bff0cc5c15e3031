import { CacheError } from '../../errors.js';
import { readWhole } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { Blobs } from '../blobs/blobs.js';
import { manifestIn, startsAsJson } from '../../oci/successors.js';
import type { Reached, References } from './mark.js';

/** A manifest among blobs that no index leads to. */
export interface StrayManifest {
  readonly digest: Digest;
  /** What it says that it belongs to: image-spec manifest.md, `subject`. */
  readonly subject: Digest | undefined;
}

/** The manifests among some blobs, as large as documents are read at all. Damaged ones are none. */
export async function strayManifests(
  blobs: Blobs,
  among: readonly BlobId[],
  signal?: AbortSignal,
): Promise<readonly StrayManifest[]> {
  const found: StrayManifest[] = [];
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

/** Blobs in such an order that a manifest comes before what it names: it reaches more. */
export async function manifestsFirst<Blob extends BlobId>(
  blobs: readonly Blob[],
  manifests: ReadonlySet<Digest>,
  references: References,
  signal: AbortSignal | undefined,
): Promise<Blob[]> {
  const sizes = new Map<Digest, number>();
  for (const { digest } of blobs) {
    if (!manifests.has(digest)) continue;
    const reached: Reached = new Map();
    await references.reach([{ digest }], reached, { document: 'unknown', signal });
    sizes.set(digest, reached.size);
  }
  return blobs.toSorted((a, b) => (sizes.get(b.digest) ?? 0) - (sizes.get(a.digest) ?? 0));
}
