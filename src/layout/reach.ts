import { CacheError } from '../errors.js';
import { readWhole } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { JSON_LIMIT } from '../oci/json.js';
import type { Document } from '../oci/manifest.js';
import { CACHE_CONFIG, isManifestType, layerEncoding } from '../oci/media-types.js';
import type { Blobs } from './blobs.js';

/** A blob that another one names. */
interface Reference {
  readonly digest: Digest;
  /** Whether it names others in turn. Of what is not known, it is found out. */
  readonly document: 'yes' | 'no' | 'unknown';
}

/** The blobs that are reached, and whether what they name has been looked at. */
export type Reached = Map<Digest, 'named' | 'read'>;

/** Why a document's references are not known. */
export interface Obstacle {
  readonly digest: Digest;
  readonly error: CacheError;
}

/**
 * What blobs name which others: caches, images, indexes of indexes and what refers to them by `subject`. Below a
 * document of a kind that is not known here, everything counts that looks like a digest. Each document is read once.
 */
export class References {
  readonly #blobs: Blobs;
  readonly #planned: ReadonlyMap<Digest, Uint8Array>;
  readonly #read = new Map<Digest, readonly Reference[]>();
  readonly #obstacles = new Map<Digest, CacheError>();

  /** @param planned - documents that count as if they were there */
  constructor(blobs: Blobs, planned: readonly Document[] = []) {
    this.#blobs = blobs;
    this.#planned = new Map(planned.map(({ descriptor, bytes }) => [descriptor.digest, bytes]));
  }

  /** The documents that are there and cannot be read, or are at the root and missing: what they name is not known. */
  get obstacles(): Obstacle[] {
    return [...this.#obstacles].map(([digest, error]) => ({ digest, error }));
  }

  /**
   * Adds everything that the roots reach, themselves included.
   *
   * @param document - whether the roots are documents
   */
  async reach(
    roots: Iterable<Pick<BlobId, 'digest'>>,
    reached: Reached,
    {
      document = 'yes',
      signal,
    }: { readonly document?: 'yes' | 'unknown'; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const open: Reference[] = Array.from(roots, ({ digest }) => ({ digest, document }));
    const rootDigests = new Set(document === 'yes' ? open.map(({ digest }) => digest) : []);
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const state = reached.get(next.digest);
      // The same blob may be met as a layer first and as a document later.
      if (state === 'read' || (state === 'named' && next.document === 'no')) continue;
      reached.set(next.digest, next.document === 'no' ? 'named' : 'read');
      if (next.document === 'no') continue;
      signal?.throwIfAborted();
      open.push(...(await this.#referencesOf(next, rootDigests.has(next.digest), signal)));
    }
  }

  async #referencesOf(reference: Reference, isRoot: boolean, signal?: AbortSignal): Promise<readonly Reference[]> {
    const { digest } = reference;
    const known = this.#read.get(digest);
    if (known !== undefined) return known;
    let references: readonly Reference[] = [];
    try {
      const bytes = await this.#readDocument(reference, signal);
      if (bytes === 'missing') {
        // A child that is not there is a sparse layout; a tag whose manifest is not there is not understood.
        if (isRoot) this.#obstacles.set(digest, new CacheError('CORRUPT', `blob ${digest} is missing`));
        return references;
      }
      references = bytes === undefined ? [] : referencesIn(bytes);
    } catch (error) {
      if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
      this.#obstacles.set(digest, error);
    }
    this.#read.set(digest, references);
    return references;
  }

  /** A blob that may be JSON, verified; undefined for one that is not. */
  async #readDocument({ digest, document }: Reference, signal?: AbortSignal): Promise<Buffer | 'missing' | undefined> {
    const planned = this.#planned.get(digest);
    if (planned !== undefined) return Buffer.from(planned);
    const size = await this.#blobs.size(digest);
    if (size === undefined) return 'missing';
    const content = this.#blobs.content(digest);
    if (!(await startsAsJson(content.open({ end: 64 }, signal)))) {
      // A damaged manifest may not look like one any more.
      if (document === 'yes' && size <= JSON_LIMIT)
        await readWhole(content, { digest, size }, this.#blobs.path(digest), { limit: size, signal });
      return undefined;
    }
    return readWhole(content, { digest, size }, this.#blobs.path(digest), { limit: JSON_LIMIT, signal });
  }
}

/** Whether bytes could be those of a JSON document. */
export async function startsAsJson(bytes: AsyncIterable<Uint8Array>): Promise<boolean> {
  for await (const chunk of bytes) return /^\s*[{[]/.test(Buffer.from(chunk).toString('latin1'));
  return false;
}

type Json = Readonly<Record<string, unknown>>;

function referencesIn(bytes: Buffer): Reference[] {
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString());
  } catch {
    // Its digest is right, and so it was never JSON.
    return [];
  }
  if (!isObject(document)) return anyDigests(document);
  return isKnown(document) ? [...knownReferences(document)] : anyDigests(document);
}

function isKnown({ mediaType, config, layers, manifests }: Json): boolean {
  if (typeof mediaType === 'string' && mediaType !== '') return isManifestType(mediaType);
  return Array.isArray(manifests) || (isObject(config) && Array.isArray(layers));
}

/** Of an image manifest, an index, or an artifact: image-spec manifest.md and image-index.md. */
function* knownReferences({ manifests, subject, ...others }: Json): Generator<Reference> {
  for (const entry of Array.isArray(manifests) ? (manifests as unknown[]) : []) {
    if (!isObject(entry) || !isDigest(entry['digest'])) continue;
    const mediaType = typeof entry['mediaType'] === 'string' ? entry['mediaType'] : '';
    // In a cache of the index shape the layers and the config stand here.
    const leaf = layerEncoding(mediaType) !== undefined || mediaType === CACHE_CONFIG;
    const other = isManifestType(mediaType) ? 'yes' : 'unknown';
    yield { digest: entry['digest'], document: leaf ? 'no' : other };
  }
  if (isObject(subject) && isDigest(subject['digest'])) yield { digest: subject['digest'], document: 'unknown' };
  for (const value of valuesOf(others)) {
    if (isObject(value) && isDigest(value['digest'])) yield { digest: value['digest'], document: 'no' };
  }
}

function anyDigests(document: unknown): Reference[] {
  const references: Reference[] = [];
  for (const value of valuesOf(document)) {
    if (isObject(value)) {
      for (const key of Object.keys(value)) if (isDigest(key)) references.push({ digest: key, document: 'unknown' });
    }
    if (isDigest(value)) references.push({ digest: value, document: 'unknown' });
  }
  return references;
}

/** A value and everything in it, without recursion, since nesting can be deep. */
function* valuesOf(value: unknown): Generator {
  const open = [value];
  while (open.length > 0) {
    const next = open.pop();
    yield next;
    if (typeof next === 'object' && next !== null) for (const inner of Object.values(next)) open.push(inner);
  }
}

/** What a document refers to by `subject`, when it is a manifest; undefined when it is none. */
export function manifestIn(bytes: Buffer): { readonly subject: Digest | undefined } | undefined {
  try {
    const document: unknown = JSON.parse(bytes.toString());
    if (!isObject(document)) return undefined;
    const { subject } = document;
    if (isObject(subject) && isDigest(subject['digest'])) return { subject: subject['digest'] };
    return isKnown(document) ? { subject: undefined } : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
