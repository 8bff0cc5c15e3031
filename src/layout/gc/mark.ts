import { CacheError } from '../../errors.js';
import { collect } from '../../bytes/collect.js';
import { contentOf, readWhole } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { Document } from '../../oci/document.js';
import { startsAsJson, type Successor, successorsIn } from '../../oci/successors.js';
import type { Blobs } from '../blobs/blobs.js';

/** In bytes: what is no larger costs less to read than to look at first. */
const READ_ONCE = 64 * 1024;

/** The blobs that were marked, and whether their successors were, too. */
export type Marked = Map<Digest, 'named' | 'read'>;

/** Why it is not known what a document names. */
interface Obstacle {
  readonly digest: Digest;
  readonly error: CacheError;
}

/** Marks the blobs that some documents need, directly or through their successors. Each document is read once. */
export class Marking {
  readonly #blobs: Blobs;
  readonly #planned: ReadonlyMap<Digest, Uint8Array>;
  readonly #read = new Map<Digest, readonly Successor[]>();
  readonly #obstacles = new Map<Digest, CacheError>();

  /** @param planned - documents that are treated as if they were written already */
  constructor(blobs: Blobs, planned: readonly Document[] = []) {
    this.#blobs = blobs;
    this.#planned = new Map(planned.map(({ descriptor, bytes }) => [descriptor.digest, bytes]));
  }

  /** The documents that cannot be read, and the roots that are missing: their successors are not known. */
  get obstacles(): Obstacle[] {
    return [...this.#obstacles].map(([digest, error]) => ({ digest, error }));
  }

  /**
   * Marks the roots and all their successors.
   *
   * @param document - whether the roots are documents
   */
  async mark(
    roots: Iterable<Pick<BlobId, 'digest'>>,
    marked: Marked,
    {
      document = 'yes',
      signal,
    }: { readonly document?: 'yes' | 'unknown'; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const open: Successor[] = Array.from(roots, ({ digest }) => ({ digest, document }));
    const rootDigests = new Set(document === 'yes' ? open.map(({ digest }) => digest) : []);
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const state = marked.get(next.digest);
      // The same blob may be met as a layer first and as a document later.
      if (state === 'read' || (state === 'named' && next.document === 'no')) continue;
      marked.set(next.digest, next.document === 'no' ? 'named' : 'read');
      if (next.document === 'no') continue;
      signal?.throwIfAborted();
      // One by one: a list of arguments has a limit.
      for (const found of await this.#successorsOf(next, rootDigests.has(next.digest), signal)) open.push(found);
    }
  }

  async #successorsOf(node: Successor, isRoot: boolean, signal?: AbortSignal): Promise<readonly Successor[]> {
    const { digest } = node;
    const known = this.#read.get(digest);
    if (known !== undefined) return known;
    let successors: readonly Successor[] = [];
    try {
      const bytes = await this.#readJson(node, signal);
      if (bytes === 'missing') return this.#missing(digest, isRoot);
      successors = bytes === undefined ? [] : successorsIn(bytes);
    } catch (error) {
      if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
      // gc of another process may be removing it at this moment.
      if ((await this.#blobs.size(digest).catch(() => 0)) === undefined) return this.#missing(digest, isRoot);
      this.#obstacles.set(digest, error);
    }
    this.#read.set(digest, successors);
    return successors;
  }

  /** A layout may lack blobs that a manifest names; where the manifest of a tag is missing, it is not known what it named. */
  #missing(digest: Digest, isRoot: boolean): readonly Successor[] {
    if (isRoot) this.#obstacles.set(digest, new CacheError('CORRUPT', `blob ${digest} is missing`));
    return [];
  }

  /** A blob that may be JSON, verified; undefined for one that is not. */
  async #readJson({ digest, document }: Successor, signal?: AbortSignal): Promise<Buffer | 'missing' | undefined> {
    const planned = this.#planned.get(digest);
    if (planned !== undefined) return Buffer.from(planned);
    const size = await this.#blobs.size(digest);
    if (size === undefined) return 'missing';
    const content = this.#blobs.content(digest);
    const where = this.#blobs.path(digest);
    // A small file is read once.
    const read = size <= READ_ONCE ? contentOf(await collect(content.open({}, signal))) : content;
    if (!(await startsAsJson(read.open({ end: 64 }, signal)))) {
      // A damaged manifest may not look like one any more.
      if (document === 'yes' && size <= JSON_LIMIT)
        await readWhole(read, { digest, size }, where, { limit: size, signal });
      return undefined;
    }
    return readWhole(read, { digest, size }, where, { limit: JSON_LIMIT, signal });
  }
}
