import type { Descriptor } from './descriptor.js';
import { type Digest, isDigest } from './digest.js';
import { folded } from './go-strings.js';
import { JsonMembers, type JsonTree, parseTree } from './json-tree.js';
import type { Manifest } from './manifest.js';
import { CACHE_CONFIG, isManifestType, layerEncoding } from './media-types.js';

/** What a manifest names, by the kind of thing that it is. */
export type Contents =
  /** A build cache: an image manifest whose config is a cacheconfig, or an index that lists one (cache/remotecache/export.go). */
  | { readonly kind: 'cache'; readonly config: Descriptor; readonly layers: readonly Descriptor[] }
  /** An image, or another artifact in the form of an image. */
  | { readonly kind: 'image'; readonly config: Descriptor; readonly layers: readonly Descriptor[] }
  /** Other manifests. */
  | { readonly kind: 'index'; readonly manifests: readonly Descriptor[] };

/** What a manifest names, as BuildKit reads it. Layers that stand there twice are there twice. */
export function contentsOf(manifest: Manifest): Contents {
  const isConfig = ({ mediaType }: Descriptor) => mediaType === CACHE_CONFIG;
  if (manifest.kind === 'manifest') {
    const { config, layers } = manifest;
    return { kind: isConfig(config) ? 'cache' : 'image', config, layers };
  }
  const { manifests } = manifest;
  const config = manifests.findLast(isConfig);
  if (config === undefined) return { kind: 'index', manifests };
  return { kind: 'cache', config, layers: manifests.filter((entry) => !isConfig(entry)) };
}

/** The digest of the image that an attestation is about, on its entry in an index (util/attestation/types.go). */
export const REFERENCE_DIGEST = 'vnd.docker.reference.digest';
const REFERENCE_TYPE = 'vnd.docker.reference.type';

/** Whether an entry of an index is an attestation (provenance, SBOM), which is about an image and is none. */
export function isAttestation({ annotations }: Descriptor): boolean {
  return annotations?.[REFERENCE_TYPE] === 'attestation-manifest';
}

/** The image that an entry of an index is about. */
export function attestedImage({ annotations }: Descriptor): Digest | undefined {
  const digest = annotations?.[REFERENCE_DIGEST];
  return isDigest(digest) ? digest : undefined;
}

/** A blob that a document names. */
export interface Successor {
  readonly digest: Digest;
  /** Whether the blob names others in turn; `unknown` where only its bytes tell. */
  readonly document: 'yes' | 'no' | 'unknown';
}

/**
 * Every blob that a document may name, for those who must not lose one: caches, images, indexes of indexes, what they
 * name by `subject`. Where Go takes a key in any case, or the last of two values, all count. In a document of an
 * unknown kind, and in text that is no JSON, everything counts that looks like a digest.
 *
 * A config names no blob: the layers of a cacheconfig and of an image are in the manifest that names the config. In a
 * bucket no manifest does, and there the cacheconfig is a document of an unknown kind.
 */
export function successorsIn(bytes: Buffer): readonly Successor[] {
  let document: JsonTree;
  try {
    document = treeOf(bytes);
  } catch {
    // Its digest is right, and so it never was JSON. What it names is kept all the same: it may be mended by hand.
    return digestsInText(bytes.toString('latin1'));
  }
  return isManifest(document) ? [...successorsOf(document)] : anyDigests(document);
}

/** The digest in the `subject` of a manifest (image-spec manifest.md); undefined when the bytes are no manifest. */
export function manifestIn(bytes: Buffer): { readonly subject: Digest | undefined } | undefined {
  try {
    const document = treeOf(bytes);
    const [subject] = valuesAt(document, 'subject').flatMap((value) => digestsAt(value));
    return subject !== undefined || isManifest(document) ? { subject } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether bytes could be those of a JSON document. */
export async function startsAsJson(bytes: AsyncIterable<Uint8Array>): Promise<boolean> {
  for await (const chunk of bytes) return /^(?:\u00ef\u00bb\u00bf)?\s*[{[]/.test(Buffer.from(chunk).toString('latin1'));
  return false;
}

/** Go refuses a byte order mark. The document is kept whole all the same, since it may be mended. */
function treeOf(bytes: Buffer): JsonTree {
  return parseTree(bytes.indexOf(BYTE_ORDER_MARK) === 0 ? bytes.subarray(BYTE_ORDER_MARK.length) : bytes, 'a document');
}

const BYTE_ORDER_MARK = Buffer.from('\uFEFF');

function valuesAt(tree: JsonTree, name: string): JsonTree[] {
  if (!(tree instanceof JsonMembers)) return [];
  return tree.entries.flatMap(([key, value]) => (folded(key) === name ? [value] : []));
}

function digestsAt(tree: JsonTree): Digest[] {
  return valuesAt(tree, 'digest').filter((value): value is Digest => isDigest(value));
}

function mediaTypesOf(tree: JsonTree): string[] {
  return valuesAt(tree, 'mediatype').filter((value): value is string => typeof value === 'string' && value !== '');
}

function isManifest(document: JsonTree): document is JsonMembers {
  const types = mediaTypesOf(document);
  if (types.length > 0) return types.every((type) => isManifestType(type));
  const has = (name: string) => valuesAt(document, name).some((value) => typeof value === 'object');
  return has('manifests') || (has('config') && has('layers'));
}

/** Of an image manifest, an index, or an artifact: image-spec manifest.md and image-index.md. */
function* successorsOf(manifest: JsonMembers): Generator<Successor> {
  for (const entry of valuesAt(manifest, 'manifests').flatMap((list) => (Array.isArray(list) ? list : []))) {
    // In a cache of the index shape the layers and the config stand here.
    const types = mediaTypesOf(entry);
    const isLeaf =
      types.length > 0 && types.every((type) => layerEncoding(type) !== undefined || type === CACHE_CONFIG);
    const other = types.length > 0 && types.every((type) => isManifestType(type)) ? 'yes' : 'unknown';
    for (const digest of digestsAt(entry)) yield { digest, document: isLeaf ? 'no' : other };
  }
  for (const subject of valuesAt(manifest, 'subject'))
    for (const digest of digestsAt(subject)) yield { digest, document: 'unknown' };
  const others = manifest.entries.filter(([name]) => !['manifests', 'subject'].includes(folded(name)));
  for (const value of valuesOf(new JsonMembers(others)))
    for (const digest of digestsAt(value)) yield { digest, document: 'no' };
}

/** What looks like a digest in text that is no JSON: with data behind it, without its end, or with a comma too many. */
function digestsInText(text: string): Successor[] {
  const found = text.match(/\bsha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})\b/g) ?? [];
  return [...new Set(found)].filter((digest) => isDigest(digest)).map((digest) => ({ digest, document: 'unknown' }));
}

function anyDigests(document: JsonTree): Successor[] {
  const found: Successor[] = [];
  for (const value of valuesOf(document)) {
    const names = value instanceof JsonMembers ? value.entries.map(([name]) => name) : [value];
    for (const name of names) if (isDigest(name)) found.push({ digest: name, document: 'unknown' });
  }
  return found;
}

/** A value and everything in it, without recursion, since nesting can be deep. */
function* valuesOf(tree: JsonTree): Generator<JsonTree> {
  const open = [tree];
  while (open.length > 0) {
    const next = open.pop();
    yield next;
    if (next instanceof JsonMembers) for (const [, value] of next.entries) open.push(value);
    else if (typeof next === 'object') for (const value of next) open.push(value);
  }
}
