import { anyDescriptorType, type Descriptor, descriptorType, IMAGE_NAME, REF_NAME } from '../../oci/descriptor.js';
import { int, kept, list, parseGo, present, setOwn, string, stringMap, struct } from '../../oci/go-types.js';
import { folded } from '../../oci/go-strings.js';
import { editJson, valueTexts } from '../../oci/json-edit.js';
import { goJsonOf, type JsonText } from '../../oci/json.js';
import { orderedDescriptor } from '../../oci/manifest.js';
import { OCI_INDEX } from '../../oci/media-types.js';

/** What a value was read from. It goes along when a value is copied to be changed. */
const SOURCE = Symbol('source');

interface IndexEntry extends Descriptor {
  readonly [SOURCE]?: EntrySource | undefined;
}

/** The text of an entry, each byte a character, and the entry as it was read. */
interface EntrySource {
  readonly text: string;
  readonly entry: Descriptor;
}

/** index.json: image-spec image-layout.md. Entries and fields that are not understood here survive a rewrite. */
export interface LayoutIndex {
  readonly manifests: readonly IndexEntry[];
  readonly [field: string]: unknown;
  /** The texts of its fields. */
  readonly [SOURCE]?: ReadonlyMap<string | number, string>;
}

/** When bkcache last imported, exported or resolved this entry, as RFC 3339: BuildKit keeps it when it rewrites others. */
export const LAST_USED = 'dev.bkcache.last-used';

/** An index as Go reads it, and its other fields. */
interface OpenIndex {
  schemaVersion?: number | undefined;
  mediaType?: string | undefined;
  manifests: readonly Descriptor[];
  subject?: JsonText | undefined;
  annotations?: JsonText | undefined;
  artifactType?: JsonText | undefined;
}

const indexType = struct<OpenIndex>(
  () => ({ manifests: [] }),
  {
    schemaVersion: ['schemaVersion', present(int)],
    mediaType: ['mediaType', present(string)],
    manifests: ['manifests', list(descriptorType)],
    subject: ['subject', kept(anyDescriptorType)],
    annotations: ['annotations', kept(stringMap)],
    artifactType: ['artifactType', kept(string)],
  },
  (index, name, text) => setOwn<unknown>(index as object as Record<string, unknown>, name, text),
);

/** @throws CacheError CORRUPT that names the field */
export function decodeIndex(bytes: Uint8Array, path: string): LayoutIndex {
  const index = parseGo(indexType, bytes, path);
  const texts = valueTexts(Buffer.from(bytes).toString('latin1'));
  const lists = texts.filter(([key]) => typeof key === 'string' && folded(key) === 'manifests');
  // What Go makes of two lists stands in neither of them.
  const entries = lists.length === 1 ? valueTexts(lists[0]?.[1] ?? '') : [];
  const manifests = index.manifests.map((entry, place): IndexEntry => {
    const text = entries[place]?.[1];
    return text === undefined ? entry : { ...entry, [SOURCE]: { text, entry } };
  });
  return { ...index, manifests, [SOURCE]: new Map(texts) };
}

/** Whether an index has a list of manifests, be it an empty one: neither `null` nor `{}` has. */
export function hasList({ [SOURCE]: texts }: LayoutIndex): boolean {
  return texts === undefined || [...texts.keys()].some((key) => typeof key === 'string' && folded(key) === 'manifests');
}

/** The bytes of an index. What was read and not changed is the text that it was: numbers that no double holds, too. */
export function encodeIndex({ manifests, [SOURCE]: texts, ...fields }: LayoutIndex): Buffer {
  // Older releases of BuildKit leave the media type out; newer ones fill it in when they write (setOCIIndexDefaults).
  const { schemaVersion = 2, mediaType = OCI_INDEX, ...others } = fields;
  const member = ([key, value]: readonly [string, unknown]) => `${jsonText(key)}:${texts?.get(key) ?? jsonText(value)}`;
  const members = [
    ...Object.entries({ schemaVersion, mediaType }).map(member),
    `"manifests":[${manifests.map(entryText).join(',')}]`,
    ...Object.entries(others).map(member),
  ];
  return Buffer.from(`{${members.join(',')}}`, 'latin1');
}

/** An entry with what was changed in it; an entry with another set of fields, or a field twice, is encoded again. */
function entryText({ [SOURCE]: source, ...entry }: IndexEntry): string {
  const ordered = orderedDescriptor(entry);
  if (source === undefined) return jsonText(ordered);
  const before = source.entry;
  const changed = [...new Set([...Object.keys(before), ...Object.keys(entry)])].filter(
    (key) => entry[key] !== before[key] && jsonText(entry[key] ?? null) !== jsonText(before[key] ?? null),
  );
  if (changed.length === 0) return source.text;
  const keys = valueTexts(source.text).map(([key]) => key);
  const isPlain = new Set(keys.map((key) => folded(`${key}`))).size === keys.length;
  if (!isPlain || changed.some((key) => entry[key] === undefined || !keys.includes(key))) return jsonText(ordered);
  const edits = changed.map((key) => ({ path: [key], value: ordered[key] }));
  return editJson(Buffer.from(source.text, 'latin1'), edits).toString('latin1');
}

function jsonText(value: unknown): string {
  return goJsonOf(value).toString('latin1');
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
 * the place of the one entry that the tag finds: others of these names are images for other platforms.
 */
export function withTag(index: LayoutIndex, tag: string, descriptor: Descriptor): LayoutIndex {
  if (tagOf(descriptor) === undefined) {
    return withEntry(index, { ...descriptor, annotations: { ...descriptor.annotations, [REF_NAME]: tag } });
  }
  const found = findTag(index, tag);
  const place = found !== undefined && sameNames(found, descriptor) ? index.manifests.indexOf(found) : -1;
  const { length } = index.manifests;
  return { ...index, manifests: index.manifests.toSpliced(place === -1 ? length : place, 1, descriptor) };
}

function sameNames(a: Descriptor, b: Descriptor): boolean {
  return [IMAGE_NAME, REF_NAME].every((name) => a.annotations?.[name] === b.annotations?.[name]);
}

/** Takes a tag away; entries that have an image name as well are other names. */
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
  return goJsonOf(orderedDescriptor(entry)).toString();
}
