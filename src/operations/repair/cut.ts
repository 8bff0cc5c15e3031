import { type CacheConfig, decodeCacheConfig } from '../../buildkit/cache-config.js';
import { CacheError, isSystemError, type Wrong } from '../../errors.js';
import { endsOf } from '../../graph/ends.js';
import { evict } from '../../graph/evict.js';
import { type Graph, hasResults } from '../../graph/graph.js';
import { graphOf } from '../../graph/load.js';
import { lowerDigests, mend } from '../../graph/mend.js';
import { replaceBlobs } from '../../graph/replace.js';
import { oversized, saveGraph, shapeOf } from '../../graph/save.js';
import { correctedGraph, type Proof } from '../../graph/statement.js';
import { type Descriptor, recompressedLayer, UNCOMPRESSED } from '../../oci/descriptor.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import type { OrderedDocuments } from '../../oci/document.js';
import { decodeManifest, type Manifest } from '../../oci/manifest.js';
import { isImageType, isNonDistributable } from '../../oci/media-types.js';
import { contentsOf } from '../../oci/successors.js';
import { readRectified } from '../verify/rectify.js';
import type { Documents } from './documents.js';
import { type MendedImage, mendImage } from './image-fate.js';

/** What is to become of an entry of the index. */
export type Fate =
  | { readonly kind: 'stays' }
  /** Its manifest or config is in no source: nothing of the cache can be imported. */
  | { readonly kind: 'goes'; readonly reason: string }
  /** The entry says something else than the manifest that it names. */
  | { readonly kind: 'corrected'; readonly descriptor: Descriptor }
  /** Its manifest was never there, and one that no entry names is. */
  | { readonly kind: 'renamed'; readonly descriptor: Descriptor }
  /** Results went that need what is not there, or with records that BuildKit refuses. */
  | {
      readonly kind: 'cut';
      readonly documents: OrderedDocuments;
      /** How many records had results, and how many have some now. */
      readonly resultsBefore: number;
      readonly results: number;
    }
  /** Nothing went; its manifest says now what the bytes prove. */
  | ({ readonly kind: 'rewritten' } & MendedImage)
  /** Nothing went; its ends are joined, so that BuildKit loses no links on import. */
  | { readonly kind: 'joined'; readonly documents: OrderedDocuments; readonly ends: number };

/** What is known of blobs, whatever a manifest says of them. */
export interface Evidence {
  /** Those that are missing or damaged. */
  readonly bad: ReadonlySet<Digest>;
  readonly proofs: ReadonlyMap<Digest, Proof>;
  /** Layers that were compressed again. */
  readonly replacements: ReadonlyMap<Digest, Descriptor>;
  readonly signal: AbortSignal | undefined;
}

/**
 * Finds out what of a cache can stay. What its manifest says wrong of a layer is corrected first, so that a result goes only
 * when no source has its layers. Images stay if their own manifest exists: an image may be incomplete.
 */
export async function fateOf(documents: Documents, entry: Descriptor, evidence: Evidence): Promise<Fate> {
  const wrong = new Set<Wrong>();
  let manifest: Manifest;
  let bytes: Buffer | undefined;
  try {
    bytes = await documents.read(entry);
    const read = readRectified(bytes, (document) => decodeManifest(document, entry.digest));
    manifest = read.value;
    if (read.fault !== undefined) wrong.add('format');
  } catch (error) {
    // What is of a kind that is not known is whole when its bytes are.
    return bytes !== undefined && !isImageType(entry.mediaType) ? { kind: 'stays' } : withoutDocument(error);
  }
  const size = bytes.length;
  const contents = contentsOf(manifest);
  if (contents.kind !== 'cache') {
    const stored = { descriptor: { ...entry, mediaType: manifest.mediaType, size }, bytes, content: manifest };
    const mended = await mendImage(documents, stored, evidence.proofs, evidence.signal);
    return mended === undefined ? correctedEntry(entry, manifest, size) : { kind: 'rewritten', ...mended };
  }
  const { config, layers } = contents;
  let decoded: CacheConfig;
  let configSize: number;
  try {
    const configBytes = await documents.read(config);
    configSize = configBytes.length;
    const read = readRectified(configBytes, (document) => decodeCacheConfig(document, config.digest));
    decoded = read.value;
    if (read.fault !== undefined) wrong.add('format');
  } catch (error) {
    return withoutDocument(error);
  }
  const spelt = lowerDigests(decoded);
  if (spelt !== decoded) wrong.add('digest');
  const mended = mend(spelt);
  const proven = correctedGraph(graphOf(layers, mended), evidence.proofs, wrong);
  const before = withReplacements(proven, evidence.replacements);
  if (before !== proven) wrong.add('padding');
  if (configSize !== config.size) wrong.add('size');
  if (manifest.fault !== undefined) wrong.add('shape');
  const graph = unlist(evict(before, unusable(before, evidence.bad)), evidence.bad);
  const save = () => saveGraph(graph, shapeOf(manifest.mediaType), manifest.fields);
  if (mended !== spelt || graph !== before) {
    const counts = { resultsBefore: countResults(decoded), results: countResults(graph) };
    return { kind: 'cut', documents: save().documents, ...counts };
  }
  if (wrong.size > 0) return { kind: 'rewritten', documents: save().documents, wrong: [...wrong].toSorted() };
  const ends = endsOf(decoded.records).length;
  if (ends > 1) {
    const saved = save();
    // What is over the limit does not import at all.
    if (oversized(saved).length === 0) return { kind: 'joined', documents: saved.documents, ends };
  }
  return correctedEntry(entry, manifest, size);
}

export function countResults({ records }: Pick<CacheConfig, 'records'>): number {
  return records.filter(hasResults).length;
}

/** The graph with other blobs in the place of some, of which nothing else is different. */
export function withReplacements(graph: Graph, replacements: ReadonlyMap<Digest, Descriptor>): Graph {
  const found = new Map<Digest, Descriptor>();
  for (const [digest, layer] of graph.descriptors) {
    const blob = replacements.get(digest);
    if (blob !== undefined && !isNonDistributable(layer.mediaType)) found.set(digest, recompressedLayer(layer, blob));
  }
  return replaceBlobs(graph, found);
}

export function withoutDocument(error: unknown): Fate {
  // What this user may not read is whole for others, perhaps.
  if (isSystemError(error, 'EACCES', 'EPERM')) return { kind: 'stays' };
  if (isSystemError(error)) return { kind: 'goes', reason: error.message };
  if (!(error instanceof CacheError)) throw error;
  if (error.code === 'CORRUPT') return { kind: 'goes', reason: error.message };
  // What is too large to be read here is not damaged by that.
  if (error.code === 'FAILED') return { kind: 'stays' };
  throw error;
}

function correctedEntry(entry: Descriptor, { mediaType }: Manifest, size: number): Fate {
  const isRight = entry.size === size && (entry.mediaType === '' || entry.mediaType === mediaType);
  return isRight ? { kind: 'stays' } : { kind: 'corrected', descriptor: { ...entry, mediaType, size } };
}

/** Removes unneeded and missing layers from the manifest. */
export function unlist(graph: Graph, bad: ReadonlySet<Digest>): Graph {
  const isBad = ({ digest }: Descriptor) => bad.has(digest);
  if (![...graph.descriptors.values()].some(isBad)) return graph;
  return { ...graph, descriptors: new Map([...graph.descriptors].filter(([, descriptor]) => !isBad(descriptor))) };
}

/** The layers that BuildKit could not use: not listed, not there, or without a diffID. */
export function unusable({ layers, descriptors }: Graph, bad: ReadonlySet<Digest>): ReadonlySet<Digest> {
  const isUsable = (blob: Digest) => {
    const descriptor = descriptors.get(blob);
    if (descriptor === undefined || !isDigest(descriptor.annotations?.[UNCOMPRESSED])) return false;
    return !bad.has(blob);
  };
  return new Set(layers.map(({ blob }) => blob).filter((blob) => !isUsable(blob)));
}
