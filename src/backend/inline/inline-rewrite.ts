import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { editJson, type JsonEdit } from '../../oci/json-edit.js';
import { type Document, documentOf, type OrderedDocuments } from '../../oci/document.js';
import { attestedImage, REFERENCE_DIGEST } from '../../oci/successors.js';
import type { Image, IndexNode, ImageTree } from './image.js';

/** What is to be changed in the documents of an image. */
export interface ImageChange {
  readonly config: readonly JsonEdit[];
  readonly manifest?: readonly JsonEdit[];
}

/**
 * Changes images, and all that names them: configs, manifests, and the indexes above. Every other byte stays.
 *
 * @param change - what to change in an image; undefined for nothing
 * @returns the documents that are others now: configs, manifests, and last what names them all; undefined when all stays
 *   as it is
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
    // An attestation stays the document that it is; its entry has to find the image that it is about.
    const image = attestedImage(entry);
    const value = image && changed.get(image)?.descriptor.digest;
    if (value === undefined) continue;
    edits.push({ path: ['manifests', position, 'annotations', REFERENCE_DIGEST], value });
  }
  return edits.length === 0 ? undefined : documentOf(manifest.descriptor.mediaType, editJson(manifest.bytes, edits));
}

/** Makes a descriptor inside a manifest name another document. */
function renaming(path: JsonEdit['path'], old: Descriptor, changed: Document): JsonEdit[] {
  const { digest, size } = changed.descriptor;
  const fields = Object.entries({ digest, size, ...dataOf(old, changed) });
  return fields.map(([name, value]) => ({ path: [...path, name], value }));
}

/** A descriptor that carries its document whole carries the new one. */
export function dataOf(old: Descriptor, { bytes }: Document): { readonly data?: string } {
  return old['data'] === undefined ? {} : { data: Buffer.from(bytes).toString('base64') };
}
