import type { LeasedBlobs } from '../../src/layout/blobs/leased-blobs.js';
import { updateIndex } from '../../src/layout/index/index-file.js';
import { tagOf, withTag } from '../../src/layout/index/index-json.js';
import { readIndex } from '../../src/layout/index/index-read.js';
import type { Layout } from '../../src/layout/layout.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';

// An open layout whose index.json is what counts: its entries name blobs that nobody reads.

/** The descriptor of such an entry. */
export function entryNamed(name: string): { mediaType: string; digest: Digest; size: number } {
  return { mediaType: 'x', digest: sha256(name), size: 1 };
}

/** Gives a layout a tag, as a copy does at its end. */
export function putTag(layout: Layout, tag: string, leased?: LeasedBlobs) {
  return updateIndex(layout, (index) => withTag(index, tag, entryNamed(tag)), { leased });
}

/** The tags of a layout in the order of index.json, the empty string for an entry without a name. */
export async function tagsIn(layout: Layout): Promise<string[]> {
  return (await readIndex(layout)).manifests.map((entry) => tagOf(entry) ?? '');
}
