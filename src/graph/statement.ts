import { isTimestamp } from '../oci/go-time.js';
import type { Wrong } from '../errors.js';
import {
  CREATED_AT,
  type Descriptor,
  ESTARGZ_TOC_DIGEST,
  ESTARGZ_UNCOMPRESSED_SIZE,
  UNCOMPRESSED,
} from '../oci/descriptor.js';
import { type Digest, isDigest } from '../oci/digest.js';
import type { Graph } from './graph.js';
import { isDocker, type LayerEncoding, layerEncoding, typeFor } from '../oci/media-types.js';

/** The facts about a blob whose bytes were read, and whose digest is right. */
export interface Proof {
  /** In bytes. */
  readonly size: number;
  /** The encoding in the first bytes of a layer; unset for bytes that are neither a tar nor compressed. */
  readonly encoding?: LayerEncoding;
  /** What came out of the layer when it was decompressed. */
  readonly decompressed?: {
    readonly diffID: Digest;
    /** The diffID as sha512, if a manifest has such a diffID. */
    readonly sha512?: Digest | undefined;
    /** The number of zeros after the end of a gzip stream; unset without zeros. */
    readonly padding?: number | undefined;
    /** The digest of the table of contents in an eStargz layer; undefined for other layers. */
    readonly tocDigest: Digest | undefined;
  };
}

/** A wrong statement of a descriptor about its layer. */
export interface StatementFault {
  readonly wrong: Extract<Wrong, 'size' | 'diffID' | 'toc' | 'mediaType' | 'createdAt'>;
  readonly expected: string | undefined;
  readonly found: string | undefined;
  /**
   * `fatal`: BuildKit fails on it. `missing`: BuildKit cannot use the layer. `stale`: BuildKit does not look, or looks at
   * the bytes instead.
   */
  readonly weight: 'fatal' | 'missing' | 'stale';
}

/**
 * The wrong statements of a descriptor about its layer.
 *
 * @param proof - undefined for unknown bytes: then only invalid statements are found
 */
export function* faultsOf(layer: Descriptor, proof: Proof | undefined): Generator<StatementFault> {
  const { size, mediaType, annotations = {} } = layer;
  if (proof !== undefined && proof.size !== size) {
    yield { wrong: 'size', expected: `${size} bytes`, found: `${proof.size} bytes`, weight: 'fatal' };
  }
  const encoding = layerEncoding(mediaType);
  if (encoding === undefined || (proof?.encoding !== undefined && proof.encoding !== encoding)) {
    const found = proof?.encoding && `${proof.encoding} bytes`;
    yield { wrong: 'mediaType', expected: mediaType, found, weight: isBelieved(mediaType) ? 'fatal' : 'stale' };
  }
  const { [UNCOMPRESSED]: diffID, [ESTARGZ_TOC_DIGEST]: toc, [CREATED_AT]: createdAt } = annotations;
  const decompressed = proof?.decompressed;
  if (!isDigest(diffID)) yield { wrong: 'diffID', expected: diffID, found: decompressed?.diffID, weight: 'missing' };
  else {
    const found = [decompressed?.diffID, decompressed?.sha512].find((known) => known && isComparable(diffID, known));
    if (found !== undefined && found !== diffID) {
      yield { wrong: 'diffID', expected: diffID, found, weight: 'stale' };
    }
  }
  if (toc !== undefined && decompressed !== undefined && toc !== decompressed.tocDigest) {
    yield { wrong: 'toc', expected: toc, found: decompressed.tocDigest, weight: 'stale' };
  }
  if (createdAt !== undefined && !isTimestamp(createdAt)) {
    yield { wrong: 'createdAt', expected: undefined, found: createdAt, weight: 'missing' };
  }
}

/** Whether the descriptor has wrong statements that the bytes of the layer can correct. */
export function needsProof(layer: Descriptor): boolean {
  return [...faultsOf(layer, undefined)].some(({ wrong }) => wrong !== 'createdAt');
}

/**
 * The descriptor with its wrong statements corrected. An invalid date is removed, since a layer needs no date. A descriptor
 * without wrong statements comes back as it is.
 */
export function corrected(layer: Descriptor, proof: Proof | undefined): Descriptor {
  const wrong = new Set(Array.from(faultsOf(layer, proof), (fault) => fault.wrong));
  if (wrong.size === 0) return layer;
  const { encoding, decompressed } = proof ?? {};
  const annotations = new Map(Object.entries(layer.annotations ?? {}));
  if (wrong.has('diffID') && decompressed !== undefined) annotations.set(UNCOMPRESSED, decompressed.diffID);
  if (wrong.has('createdAt')) annotations.delete(CREATED_AT);
  if (wrong.has('toc') && decompressed?.tocDigest !== undefined)
    annotations.set(ESTARGZ_TOC_DIGEST, decompressed.tocDigest);
  else if (wrong.has('toc'))
    for (const name of [ESTARGZ_TOC_DIGEST, ESTARGZ_UNCOMPRESSED_SIZE]) annotations.delete(name);
  const right = {
    ...layer,
    size: proof?.size ?? layer.size,
    mediaType: wrong.has('mediaType') && encoding !== undefined ? typeFor(layer.mediaType, encoding) : layer.mediaType,
    annotations: Object.fromEntries(annotations),
  };
  return JSON.stringify(right) === JSON.stringify(layer) ? layer : right;
}

/**
 * The graph with corrected descriptors.
 *
 * @param wrong - gets what was wrong
 */
export function correctedGraph(graph: Graph, proofs: ReadonlyMap<Digest, Proof>, wrong = new Set<Wrong>()): Graph {
  const descriptors = new Map<Digest, Descriptor>();
  let isRight = true;
  for (const [digest, layer] of graph.descriptors) {
    const proof = proofs.get(digest);
    const right = corrected(layer, proof);
    descriptors.set(digest, right);
    if (right === layer) continue;
    isRight = false;
    for (const fault of faultsOf(layer, proof)) wrong.add(fault.wrong);
  }
  return isRight ? graph : { ...graph, descriptors };
}

/** BuildKit looks at the bytes below every known type but OCI's plain tar (containerd core/images/mediatypes.go, DiffCompression). */
function isBelieved(mediaType: string): boolean {
  const encoding = layerEncoding(mediaType);
  return encoding === undefined || (encoding === 'uncompressed' && !isDocker(mediaType));
}

function isComparable(a: Digest, b: Digest): boolean {
  return a.split(':', 1)[0] === b.split(':', 1)[0];
}
