import { CacheError } from '../../errors.js';
import { readWhole } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import { folded } from '../../oci/go-strings.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { JsonMembers, type JsonTree, parseTree } from '../../oci/json-tree.js';
import type { Document } from '../../oci/document.js';
import { CACHE_CONFIG, isManifestType, layerEncoding } from '../../oci/media-types.js';
import type { Blobs } from '../blobs/blobs.js';

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
      // One by one: a list of arguments has a limit.
      for (const found of await this.#referencesOf(next, rootDigests.has(next.digest), signal)) open.push(found);
    }
  }

  async #referencesOf(reference: Reference, isRoot: boolean, signal?: AbortSignal): Promise<readonly Reference[]> {
    const { digest } = reference;
    const known = this.#read.get(digest);
    if (known !== undefined) return known;
    let references: readonly Reference[] = [];
    try {
      const bytes = await this.#readDocument(reference, signal);
      if (bytes === 'missing') return this.#missing(digest, isRoot);
      references = bytes === undefined ? [] : referencesIn(bytes);
    } catch (error) {
      if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
      // Another process may be collecting it at this moment.
      if ((await this.#blobs.size(digest).catch(() => 0)) === undefined) return this.#missing(digest, isRoot);
      this.#obstacles.set(digest, error);
    }
    this.#read.set(digest, references);
    return references;
  }

  /** A child that is not there is a sparse layout; a tag whose manifest is not there is not understood. */
  #missing(digest: Digest, isRoot: boolean): readonly Reference[] {
    if (isRoot) this.#obstacles.set(digest, new CacheError('CORRUPT', `blob ${digest} is missing`));
    return [];
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
  for await (const chunk of bytes) return /^(?:\u00ef\u00bb\u00bf)?\s*[{[]/.test(Buffer.from(chunk).toString('latin1'));
  return false;
}

/** What Go refuses for the mark in front of it is kept whole all the same: it may be mended. */
function treeOf(bytes: Buffer): JsonTree {
  return parseTree(bytes.indexOf(BYTE_ORDER_MARK) === 0 ? bytes.subarray(BYTE_ORDER_MARK.length) : bytes, 'a document');
}

const BYTE_ORDER_MARK = Buffer.from('\uFEFF');

function referencesIn(bytes: Buffer): readonly Reference[] {
  let document: JsonTree;
  try {
    document = treeOf(bytes);
  } catch {
    // Its digest is right, and so it never was JSON. What it names is kept all the same: it may be mended by hand.
    return digestsInText(bytes.toString('latin1'));
  }
  return isKnown(document) ? [...knownReferences(document)] : anyDigests(document);
}

/**
 * The values under a name. Go takes it in any case (encoding/json), and of two values either may be the one that counts:
 * what any of them refers to is kept.
 */
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

function isKnown(document: JsonTree): document is JsonMembers {
  const types = mediaTypesOf(document);
  if (types.length > 0) return types.every((type) => isManifestType(type));
  const has = (name: string) => valuesAt(document, name).some((value) => typeof value === 'object');
  return has('manifests') || (has('config') && has('layers'));
}

/** Of an image manifest, an index, or an artifact: image-spec manifest.md and image-index.md. */
function* knownReferences(document: JsonMembers): Generator<Reference> {
  for (const entry of valuesAt(document, 'manifests').flatMap((list) => (Array.isArray(list) ? list : []))) {
    // In a cache of the index shape the layers and the config stand here.
    const types = mediaTypesOf(entry);
    const isLeaf =
      types.length > 0 && types.every((type) => layerEncoding(type) !== undefined || type === CACHE_CONFIG);
    const other = types.length > 0 && types.every((type) => isManifestType(type)) ? 'yes' : 'unknown';
    for (const digest of digestsAt(entry)) yield { digest, document: isLeaf ? 'no' : other };
  }
  for (const subject of valuesAt(document, 'subject'))
    for (const digest of digestsAt(subject)) yield { digest, document: 'unknown' };
  const others = document.entries.filter(([name]) => !['manifests', 'subject'].includes(folded(name)));
  for (const value of valuesOf(new JsonMembers(others)))
    for (const digest of digestsAt(value)) yield { digest, document: 'no' };
}

/** What looks like a digest in text that is no JSON: with data behind it, without its end, or with a comma too many. */
function digestsInText(text: string): Reference[] {
  const found = text.match(/\bsha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})\b/g) ?? [];
  return [...new Set(found)].filter((digest) => isDigest(digest)).map((digest) => ({ digest, document: 'unknown' }));
}

function anyDigests(document: JsonTree): Reference[] {
  const references: Reference[] = [];
  for (const value of valuesOf(document)) {
    const names = value instanceof JsonMembers ? value.entries.map(([name]) => name) : [value];
    for (const name of names) if (isDigest(name)) references.push({ digest: name, document: 'unknown' });
  }
  return references;
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

/** What a document refers to by `subject`, when it is a manifest; undefined when it is none. */
export function manifestIn(bytes: Buffer): { readonly subject: Digest | undefined } | undefined {
  try {
    const document = treeOf(bytes);
    const [subject] = valuesAt(document, 'subject').flatMap((value) => digestsAt(value));
    return subject !== undefined || isKnown(document) ? { subject } : undefined;
  } catch {
    return undefined;
  }
}
