import { loadBare, saveBare, bareLayers } from '../../graph/bare.js';
import { loadGraph } from '../../graph/load.js';
import { decodeCacheConfig } from '../../buildkit/cache-config.js';
import { CacheError } from '../../errors.js';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { gc } from '../../layout/gc/gc.js';
import { updateIndex } from '../../layout/index/index-file.js';
import { entryKey, type LayoutIndex, withTag } from '../../layout/index/index-json.js';
import { usedNow } from '../../layout/index/last-used.js';
import type { Layout } from '../../layout/layout.js';
import { contentOf, readDocument } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { documentOf } from '../../oci/document.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { decodeManifest, encodeManifest } from '../../oci/manifest.js';
import { CACHE_CONFIG, OCI_MANIFEST } from '../../oci/media-types.js';
import type { Access } from '../access.js';
import type { OpenContent } from '../content-answer.js';
import type { EntryId, FoundEntry, GhaStore, PieceUpload, Rejection } from '../gha/gha-store.js';
import { kindOf, storeName } from '../gha/keys.js';
import type { SpaceLimits } from './blob-upload.js';
import { openBlob } from './open-blob.js';
import { ENTRY_TYPE, entryAnnotations, ghaEntriesIn, indexAnnotations, type StoredEntry } from './gha-entries.js';
import { IndexReader } from './index-view.js';
import { FolderPieces } from './pieces.js';
import { RecentBlobs } from './recent.js';

/** More frequent uses are not recorded; in milliseconds. */
const USE_PRECISION = 10 * 60_000;

/** How often gc is asked again while something waits for it, in milliseconds. */
const GC_EVERY = 10 * 60_000;

export interface GhaLimits extends SpaceLimits {
  /** What all entries together may need, in bytes. */
  readonly maxSize?: number | undefined;
}

/** What the manifest of a cache names. */
interface CacheParts {
  readonly config: BlobId;
  readonly layers: readonly Descriptor[];
}

/** A folder of caches as the cache service of GitHub. */
export class FolderGha implements GhaStore, AsyncDisposable {
  readonly #layout: Layout;
  readonly #limits: GhaLimits;
  readonly #isReadOnly: boolean;
  readonly #recent: RecentBlobs;
  readonly #index: IndexReader<readonly StoredEntry[]>;
  readonly #onError: (error: unknown) => void;
  /** Manifests never change. */
  readonly #parts = new Map<Digest, CacheParts>();
  #evicting: Promise<void> | undefined;
  /** When gc is to remove what an eviction has left in quarantine, in milliseconds since 1970. */
  #nextGc = Number.POSITIVE_INFINITY;

  /** @param onError - is told what keeps entries from being evicted */
  constructor(
    layout: Layout,
    limits: GhaLimits,
    { isReadOnly, onError }: { readonly isReadOnly: boolean; readonly onError: (error: unknown) => void },
  ) {
    this.#layout = layout;
    this.#limits = limits;
    this.#isReadOnly = isReadOnly;
    this.#recent = new RecentBlobs(layout);
    this.#index = new IndexReader(layout, ghaEntriesIn);
    this.#onError = onError;
  }

  async find({ scopes }: Access, keys: readonly string[], version: string): Promise<FoundEntry | undefined> {
    const entries = (await this.#index.read()).filter((one) => one.version === version);
    for (const { ref } of scopes) {
      const own = entries.filter((one) => one.ref === ref);
      for (const key of keys) {
        const found = (await this.#blob(own, { key, version, ref })) ?? (await this.#entry(own, key));
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  async has(id: EntryId): Promise<boolean> {
    const entries = await this.#index.read();
    const own = entries.filter(({ ref, version }) => ref === id.ref && version === id.version);
    const kind = kindOf(id.key, id.version, id.ref);
    if (kind.kind === 'blob') return (await this.#blob(own, id)) !== undefined;
    if (kind.kind === 'other') return own.some(({ key }) => key === id.key);
    for (const entry of own) {
      const other = kindOf(entry.key, entry.version, entry.ref);
      const isSuch = other.kind === 'index' && other.name === kind.name && other.number >= kind.number;
      if (isSuch && (await this.#isWhole(entry))) return true;
    }
    return false;
  }

  async open(digest: Digest): Promise<OpenContent | undefined> {
    return openBlob(this.#layout, digest);
  }

  async begin(): Promise<PieceUpload> {
    return Promise.resolve(new FolderPieces(this.#layout, this.#limits));
  }

  async commit(id: EntryId, upload: PieceUpload): Promise<Rejection | undefined> {
    const joined = upload instanceof FolderPieces ? upload.joined : undefined;
    if (joined === undefined) return 'format';
    const kind = kindOf(id.key, id.version, id.ref);
    const { digest, size } = joined;
    if (kind.kind === 'blob') {
      if (kind.digest !== digest) return 'digest';
      await joined.finish(digest);
      await this.#recent.keep(id.ref, digest);
      return undefined;
    }
    await joined.finish(digest);
    await this.#recent.keep(id.ref, digest);
    const rejection =
      kind.kind === 'index'
        ? await this.#publishCache(id, kind, { digest, size })
        : await this.#publishEntry(id, { digest, size });
    if (rejection === undefined) this.#evictSoon();
    return rejection;
  }

  /** Ends leases that have lasted long enough. */
  async expire(): Promise<void> {
    await this.#recent.expire();
    this.#evictSoon();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#evicting;
    await this.#recent[Symbol.asyncDispose]();
  }

  /** Nothing is written to a folder that is served read-only, and no lease either. */
  async #keep(ref: string, digest: Digest): Promise<void> {
    if (!this.#isReadOnly) await this.#recent.keep(ref, digest);
  }

  /** A layer is here when a cache of the scope has it, or a client has pushed it lately. */
  async #blob(own: readonly StoredEntry[], { key, version, ref }: EntryId): Promise<FoundEntry | undefined> {
    const kind = kindOf(key, version, ref);
    if (kind.kind !== 'blob') return undefined;
    const { digest } = kind;
    if (!this.#recent.has(digest, (one) => one === ref) && !(await this.#isNamed(own, digest))) return undefined;
    await this.#keep(ref, digest);
    const size = await this.#layout.blobs.size(digest);
    return size === undefined ? undefined : { key, ref, digest, size, created: 0 };
  }

  async #isNamed(own: readonly StoredEntry[], digest: Digest): Promise<boolean> {
    for (const entry of own) {
      const parts = await this.#partsOf(entry);
      if (parts?.layers.some((layer) => layer.digest === digest) === true) return true;
    }
    return false;
  }

  async #entry(own: readonly StoredEntry[], wanted: string): Promise<FoundEntry | undefined> {
    const exact = own.filter(({ key }) => key === wanted);
    const longer = own.filter(({ key }) => key !== wanted && key.startsWith(wanted));
    for (const entry of [...exact, ...longer]) {
      const bytes = await this.#bytesOf(entry);
      if (bytes === undefined) continue;
      await this.#used(entry);
      return { key: entry.key, ref: entry.ref, ...bytes, created: entry.created };
    }
    return undefined;
  }

  /** The bytes of an entry; undefined unless all that it needs is here. */
  async #bytesOf(entry: StoredEntry): Promise<BlobId | undefined> {
    await this.#keep(entry.ref, entry.descriptor.digest);
    if (!(await this.#isWhole(entry))) return undefined;
    if (entry.kind === 'other') return entry.descriptor;
    const parts = await this.#partsOf(entry);
    return parts && this.#bareConfig(entry, parts);
  }

  async #isWhole(entry: StoredEntry): Promise<boolean> {
    if (entry.kind === 'other') return this.#isHere(entry.descriptor);
    const parts = await this.#partsOf(entry);
    if (parts === undefined || !(await this.#isHere(parts.config))) return false;
    for (const layer of parts.layers) if (!(await this.#isHere(layer))) return false;
    return true;
  }

  async #isHere({ digest, size }: BlobId): Promise<boolean> {
    return (await this.#layout.blobs.size(digest)) === size;
  }

  async #partsOf({ kind, descriptor: { digest } }: StoredEntry): Promise<CacheParts | undefined> {
    if (kind !== 'index') return undefined;
    const known = this.#parts.get(digest);
    if (known !== undefined) return known;
    try {
      const manifest = decodeManifest(await this.#read(digest), digest);
      if (manifest.kind !== 'manifest') return undefined;
      const parts = { config: manifest.config, layers: manifest.layers };
      if (this.#parts.size >= 1000) this.#parts.clear();
      this.#parts.set(digest, parts);
      return parts;
    } catch (error) {
      if (error instanceof CacheError) return undefined;
      throw error;
    }
  }

  /** The config as the client wrote it; of a cache that prune has changed, the same without a manifest. */
  async #bareConfig({ ref }: StoredEntry, { config, layers }: CacheParts): Promise<BlobId | undefined> {
    const bytes = await this.#read(config.digest);
    try {
      bareLayers(decodeCacheConfig(bytes, config.digest), config.digest);
      return config;
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
    }
    if (this.#isReadOnly) return undefined;
    const { descriptor, bytes: bare } = saveBare(loadGraph(layers, bytes, config.digest));
    await this.#recent.keep(ref, descriptor.digest);
    await using leased = new LeasedBlobs(this.#layout);
    return await leased.write(contentOf(bare), descriptor, { where: 'a cache', sharing: 'copy' });
  }

  async #publishCache(
    { ref, key }: EntryId,
    { name, number }: { readonly name: string; readonly number: number },
    blob: BlobId,
  ): Promise<Rejection | undefined> {
    let layers: readonly Descriptor[];
    try {
      const bytes = await this.#read(blob.digest);
      loadBare(bytes, key);
      const all = bareLayers(decodeCacheConfig(bytes, key), key);
      layers = [...new Map(all.map((layer) => [layer.digest, layer])).values()];
    } catch (error) {
      if (error instanceof CacheError) return 'format';
      throw error;
    }
    const entries = (await this.#index.read()).filter((one) => one.ref === ref);
    for (const { digest } of layers) {
      // A digest alone opens no blob: the scope has to have it.
      const isRecent = this.#recent.has(digest, (one) => one === ref);
      if (!isRecent && !(await this.#isNamed(entries, digest))) return 'missing blobs';
    }
    const config = { mediaType: CACHE_CONFIG, ...blob };
    const manifest = documentOf(
      OCI_MANIFEST,
      encodeManifest({ kind: 'manifest', mediaType: OCI_MANIFEST, config, layers }),
    );
    await using leased = new LeasedBlobs(this.#layout);
    await leased.lease.add([manifest.descriptor, config, ...layers].map(({ digest }) => digest));
    for (const needed of [config, ...layers]) if (!(await leased.has(needed))) return 'missing blobs';
    await leased.sync();
    if (!(await leased.has(manifest.descriptor))) {
      await leased.write(contentOf(manifest.bytes), manifest.descriptor, { where: 'a manifest', sharing: 'copy' });
    }
    await leased.sync();
    const annotations = indexAnnotations(ref, { name, number });
    const entry = { ...manifest.descriptor, annotations };
    await updateIndex(this.#layout, (index) => withTag(index, storeName(name, ref), entry), { leased });
    return undefined;
  }

  async #publishEntry(id: EntryId, blob: BlobId): Promise<undefined> {
    await using leased = new LeasedBlobs(this.#layout);
    await leased.has(blob);
    await leased.sync();
    const entry = { mediaType: ENTRY_TYPE, ...blob, annotations: entryAnnotations(id) };
    // Another server of the same folder may have been faster, and an entry never changes.
    const isSame = (one: StoredEntry) => one.ref === id.ref && one.key === id.key && one.version === id.version;
    const change = (index: LayoutIndex) =>
      ghaEntriesIn(index).some(isSame) ? index : { ...index, manifests: [...index.manifests, entry] };
    await updateIndex(this.#layout, change, { leased });
  }

  /** Records the use of an entry, to within ten minutes. */
  async #used({ descriptor, used }: StoredEntry): Promise<void> {
    if (this.#isReadOnly || Date.now() - used < USE_PRECISION) return;
    const key = entryKey(descriptor);
    const change = (index: LayoutIndex) => {
      const at = index.manifests.findIndex((one) => entryKey(one) === key);
      return at === -1 ? index : { ...index, manifests: index.manifests.with(at, usedNow(descriptor)) };
    };
    await updateIndex(this.#layout, change).catch((error: unknown) => {
      // A build has the lock: the next use is recorded.
      if (!(error instanceof CacheError) || error.code !== 'BUSY') throw error;
    });
  }

  #evictSoon(): void {
    if (this.#limits.maxSize === undefined || this.#isReadOnly || this.#evicting !== undefined) return;
    this.#evicting = this.#evict(this.#limits.maxSize)
      // It is tried again a minute later.
      .catch(this.#onError)
      .finally(() => (this.#evicting = undefined));
  }

  /**
   * Drops entries, the least recently used first, until what is left fits; each whole. Files are not counted, but what
   * entries need: what a dropped entry needed may have leases for a while, and is no reason to drop others.
   */
  async #evict(maxSize: number): Promise<void> {
    const entries = [...(await this.#index.read())].toSorted((a, b) => a.used - b.used);
    const needs = new Map<StoredEntry, ReadonlySet<Digest>>();
    const users = new Map<Digest, number>();
    const sizes = new Map<Digest, number>();
    for (const entry of entries) {
      const parts = await this.#partsOf(entry);
      const all = [entry.descriptor, ...(parts === undefined ? [] : [parts.config, ...parts.layers])];
      for (const { digest, size } of all) sizes.set(digest, size);
      const digests = new Set(all.map(({ digest }) => digest));
      needs.set(entry, digests);
      for (const digest of digests) users.set(digest, (users.get(digest) ?? 0) + 1);
    }
    let total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    if (total <= maxSize) {
      if (Date.now() >= this.#nextGc) await this.#gc();
      return;
    }
    const dropped: StoredEntry[] = [];
    const former = new Set<Digest>();
    for (const entry of entries) {
      if (total <= maxSize) break;
      dropped.push(entry);
      for (const digest of needs.get(entry) ?? []) {
        former.add(digest);
        const left = (users.get(digest) ?? 1) - 1;
        users.set(digest, left);
        if (left === 0) total -= sizes.get(digest) ?? 0;
      }
    }
    const keys = new Set(dropped.map(({ descriptor }) => entryKey(descriptor)));
    // An entry that was used since it was read is another text, and stays.
    const change = (index: LayoutIndex) => {
      const manifests = index.manifests.filter((one) => !keys.has(entryKey(one)));
      return manifests.length === index.manifests.length ? index : { ...index, manifests };
    };
    await updateIndex(this.#layout, change);
    await this.#gc(former);
  }

  /** What a build might still need goes to quarantine first, and is removed by a gc after the period of grace. */
  async #gc(former: ReadonlySet<Digest> = new Set()): Promise<void> {
    this.#nextGc = Date.now() + GC_EVERY;
    const { setAside, young } = await gc(this.#layout, { former });
    if (setAside.count === 0 && young.count === 0) this.#nextGc = Number.POSITIVE_INFINITY;
  }

  #read(digest: Digest): Promise<Buffer> {
    return readDocument(this.#layout.blobs.content(digest), digest, this.#layout.root, { limit: JSON_LIMIT });
  }
}
