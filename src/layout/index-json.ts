import * as v from 'valibot';
import { type Descriptor, IMAGE_NAME, REF_NAME } from '../oci/descriptor.js';
import { goJson, parseJson } from '../oci/json.js';
import { descriptorSchema, orderedDescriptor } from '../oci/manifest.js';
import { OCI_INDEX } from '../oci/media-types.js';

/** index.json: image-spec image-layout.md. Entries and fields that are not understood here survive a rewrite. */
export interface LayoutIndex {
  readonly manifests: readonly Descriptor[];
  readonly [field: string]: unknown;
}

/** When bkcache last imported, exported or resolved this entry, as RFC 3339: BuildKit keeps it when it rewrites others. */
export const LAST_USED = 'dev.bkcache.last-used';

const indexSchema = v.looseObject({ manifests: v.nullish(v.array(descriptorSchema), []) });

/** @throws CacheError CORRUPT that names the field */
export function decodeIndex(bytes: Uint8Array, path: string): LayoutIndex {
  return parseJson(indexSchema, bytes, path);
}

export function encodeIndex({ manifests, ...fields }: LayoutIndex): Buffer {
  // Older releases of BuildKit leave the media type out; newer ones fill it in when they write (setOCIIndexDefaults).
  const { schemaVersion = 2, mediaType = OCI_INDEX, ...others } = fields;
  return goJson({ schemaVersion, mediaType, manifests: manifests.map(orderedDescriptor), ...others });
}

/** The names that an import could ask for an entry by, in the order in which BuildKit looks. An empty one is none. */
export function namesOf({ annotations }: Descriptor): string[] {
  const names = new Set([annotations?.[IMAGE_NAME] ?? '', annotations?.[REF_NAME] ?? '']);
  return [...names].filter((name) => name !== '');
}

/** The tag of an index entry: the first of its names. */
export function tagOf(entry: Descriptor): string | undefined {
  return namesOf(entry)[0];
}

/** The entry for a tag, as BuildKit looks for it (client/ociindex/ociindex.go, Get). */
export function findTag(index: LayoutIndex, tag: string): Descriptor | undefined {
  return (
    index.manifests.find(({ annotations }) => annotations?.[IMAGE_NAME] === tag) ??
    index.manifests.find(({ annotations }) => annotations?.[REF_NAME] === tag)
  );
}

/** Puts an entry in the place of those of the same name, last, as BuildKit does (insertDesc). */
export function withEntry(index: LayoutIndex, entry: Descriptor): LayoutIndex {
  const name = entry.annotations?.[REF_NAME];
  const others = index.manifests.filter(
    ({ annotations }) => annotations?.[REF_NAME] !== name || imageName(annotations) !== imageName(entry.annotations),
  );
  return { ...index, manifests: [...others, entry] };
}

/**
 * Points a tag at a manifest; the entries of the same name go. A descriptor that has names already, as images have, takes
 * the place of the entry with these names, so that whatever found that one finds it.
 */
export function withTag(index: LayoutIndex, tag: string, descriptor: Descriptor): LayoutIndex {
  if (tagOf(descriptor) === undefined) {
    return withEntry(index, { ...descriptor, annotations: { ...descriptor.annotations, [REF_NAME]: tag } });
  }
  const place = index.manifests.findIndex((entry) => sameNames(entry, descriptor));
  const others = index.manifests.filter((entry) => !sameNames(entry, descriptor));
  return { ...index, manifests: others.toSpliced(place === -1 ? others.length : place, 0, descriptor) };
}

function sameNames(a: Descriptor, b: Descriptor): boolean {
  return [IMAGE_NAME, REF_NAME].every((name) => a.annotations?.[name] === b.annotations?.[name]);
}

/** Takes a tag away; entries that have an image name beside it are other names. */
export function withoutTag(index: LayoutIndex, tag: string): LayoutIndex {
  const others = index.manifests.filter(
    ({ annotations }) => annotations?.[REF_NAME] !== tag || imageName(annotations) !== '',
  );
  return { ...index, manifests: others };
}

function imageName(annotations: Descriptor['annotations']): string {
  return annotations?.[IMAGE_NAME] ?? '';
}

/** A text that two entries have in common when they say the same. */
export function entryKey(entry: Descriptor): string {
  return goJson(orderedDescriptor(entry)).toString();
}
