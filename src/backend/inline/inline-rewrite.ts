import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { editJson, type JsonEdit } from '../../oci/json-edit.js';
import { type Document, documentOf, type OrderedDocuments } from '../../oci/document.js';
import { attestedImage, REFERENCE_DIGEST } from '../../oci/successors.js';
import type { Image, IndexNode, ImageTree } from './image.js';

/** The edits in the documents of an image. */
export interface ImageChange {
  readonly config: readonly JsonEdit[];
  readonly manifest?: readonly JsonEdit[];
}

/**
 * Changes images and the documents that name them: configs, manifests, and the indexes above. Every other byte stays the
 * same.
 *
 * @param change - the edits in an image; undefined for none
 * @returns the changed documents in the order of writing: configs, manifests, and last the outermost manifest; undefined
 *   when nothing changes
 */
export function rewriteImages(
  { manifest, members }: ImageTree,
  change: (image: Image) => ImageChange | undefined,
): OrderedDocuments | undefined {
  const configs: Document[] = [];
  const changed = new Map<Digest, Document>();
  for (const member of members) {
    const { digest } = member.manifest.descriptor;
    if (member.kind === 'index') {
      const index = rewriteIndex(member, changed);
      if (index !== undefined) changed.set(digest, index);
      continue;
    }
    const edits = change(member);
    if (edits === undefined) continue;
    const image = rewriteImage(member, edits);
    if (image.config !== undefined) configs.push(image.config);
    if (image.manifest !== undefined) changed.set(digest, image.manifest);
  }
  const top = changed.get(manifest.descriptor.digest);
  if (top === undefined) return undefined;
  return [...configs, ...[...changed.values()].filter((document) => document !== top), top];
}

function rewriteImage(
  { manifest, config }: Image,
  edits: ImageChange,
): { readonly config?: Document; readonly manifest?: Document } {
  const changed = documentOf(config.descriptor.mediaType, editJson(config.bytes, edits.config));
  const isSame = changed.descriptor.digest === config.descriptor.digest;
  const all = [...(edits.manifest ?? []), ...(isSame ? [] : renaming(['config'], config.descriptor, changed))];
  if (all.length === 0) return {};
  const rewritten = documentOf(manifest.descriptor.mediaType, editJson(manifest.bytes, all));
  return { ...(isSame ? {} : { config: changed }), manifest: rewritten };
}

function rewriteIndex({ manifest, listed }: IndexNode, changed: ReadonlyMap<Digest, Document>): Document | undefined {
  const edits: JsonEdit[] = [];
  for (const [position, entry] of listed.entries()) {
    const document = changed.get(entry.digest);
    if (document !== undefined) edits.push(...renaming(['manifests', position], entry, document));
    // An attestation does not change, but its entry names the digest of its image.
    const image = attestedImage(entry);
    const value = image && changed.get(image)?.descriptor.digest;
    if (value === undefined) continue;
    edits.push({ path: ['manifests', position, 'annotations', REFERENCE_DIGEST], value });
  }
  return edits.length === 0 ? undefined : documentOf(manifest.descriptor.mediaType, editJson(manifest.bytes, edits));
}

/** The edits that make a descriptor in a manifest name another document. */
function renaming(path: JsonEdit['path'], old: Descriptor, changed: Document): JsonEdit[] {
  const { digest, size } = changed.descriptor;
  const fields = Object.entries({ digest, size, ...dataOf(old, changed) });
  return fields.map(([name, value]) => ({ path: [...path, name], value }));
}

/** The `data` field for a descriptor that embeds its document. */
export function dataOf(old: Descriptor, { bytes }: Document): { readonly data?: string } {
  return old['data'] === undefined ? {} : { data: Buffer.from(bytes).toString('base64') };
}
