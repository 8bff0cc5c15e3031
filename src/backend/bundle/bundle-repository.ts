import { type FileHandle, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CacheError, isSystemError } from '../../errors.js';
import { checkContent } from '../../layout/blobs/blob-file.js';
import { writingTo } from '../../layout/files/disk-error.js';
import { GatheringWriter } from '../../layout/files/gathering-writer.js';
import { createFile } from '../../layout/files/open-file.js';
import { LAST_USED, type LayoutIndex, withTag } from '../../layout/index/index-json.js';
import { BlobHash } from '../../oci/blob-hash.js';
import { type Content, contentOf, readDocument, verified } from '../../oci/content.js';
import { type BlobId, type Descriptor, UNCOMPRESSED } from '../../oci/descriptor.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { ConversionMemory } from '../backend.js';
import { contentOfFile } from '../config/spool.js';
import { registryConversions } from '../repository/conversion-memory.js';
import { readingImport, sourceOf } from '../repository/import-bytes.js';
import type { Reference, Repository, RepositoryEntry, UnreadTag } from '../repository/repository.js';
import { mediaTypeOf } from '../repository/resolve.js';
import { Bundle, unreadable } from './bundle.js';
import { BundleFolder } from './bundle-folder.js';
import { type BundleOutput, FileOutput } from './bundle-output.js';
import { bundleReader } from './bundle-reader.js';
import type { RequiredBlob } from './required.js';
import { treeOf } from './tree.js';
import { BundleBytes } from './write-bundle.js';

/** What a bundle may leave out, since those who receive it have it. */
export interface Receivers {
  /** Whether all of them have a blob. */
  hasBlob(blob: BlobId & Partial<Descriptor>): boolean;
}

export interface BundleSettings {
  /** Fsync the bundle. */
  readonly durable: boolean;
  /** For a thin bundle. */
  readonly receivers?: Receivers | undefined;
  /** Takes the bundle instead of its file, such as stdout. The folder is for temporary files. */
  readonly output?: ((folder: string, size: number) => Promise<BundleOutput>) | undefined;
  /** For several caches: `publish` collects them, and `commit` writes the bundle. */
  readonly isCollecting?: boolean;
  /** Called with the size of the whole bundle, and then with the bytes that were written. */
  readonly onBytes?: ((bytes: number, total: number) => void) | undefined;
}

const EMPTY: LayoutIndex = { manifests: [] };

/**
 * A bundle to write to. A bundle is one file: it is written again, with what it had and what it got, and replaces the old one
 * when it is whole. Until then, blobs that are files stay where they are, and others are in a folder next to the bundle.
 * Every blob is checked when it is stored.
 */
export class BundleRepository implements Repository {
  readonly name: string;
  readonly conversions: ConversionMemory | undefined;
  readonly #path: string;
  readonly #settings: BundleSettings;
  #old: Bundle | undefined;
  #index: LayoutIndex;
  readonly #stored = new Map<Digest, Content & { readonly size: number }>();
  readonly #left = new Map<Digest, RequiredBlob>();
  #folder: Promise<BundleFolder> | undefined;
  #spooled = 0;

  /**
   * @param name - what the user calls it
   * @param path - where it will be
   * @param old - the bundle that is there
   */
  constructor(name: string, path: string, old: Bundle | undefined, settings: BundleSettings) {
    this.name = name;
    this.#path = path;
    this.#settings = settings;
    this.#old = old;
    this.#index = old?.index ?? EMPTY;
    this.conversions = registryConversions((blobs) => this.present(blobs));
  }

  async resolve(reference: Reference, signal?: AbortSignal): Promise<Descriptor> {
    const stored = 'digest' in reference ? this.#stored.get(reference.digest) : undefined;
    if (stored === undefined || !('digest' in reference)) return this.#reader().resolve(reference, signal);
    const { digest } = reference;
    const bytes = await readDocument(stored, digest, this.name, { limit: JSON_LIMIT, signal });
    return { mediaType: mediaTypeOf(bytes, this.name, digest), digest, size: bytes.length };
  }

  async entries(): Promise<readonly (RepositoryEntry | UnreadTag)[]> {
    return this.#reader().entries();
  }

  manifest(descriptor: Descriptor): Content {
    return this.blob(descriptor);
  }

  blob(blob: BlobId): Content {
    const stored = this.#stored.get(blob.digest);
    if (stored !== undefined) return stored;
    if (this.#old !== undefined) return this.#old.content(blob);
    return unreadable(new CacheError('CORRUPT', `${this.name} has no blob ${blob.digest}`, { wrong: 'missing' }));
  }

  present(blobs: readonly BlobId[]): Promise<ReadonlySet<Digest>> {
    return Promise.resolve(new Set(blobs.filter((blob) => this.#has(blob)).map(({ digest }) => digest)));
  }

  async write(content: Content, expected: BlobId | undefined, signal?: AbortSignal): Promise<BlobId> {
    return readingImport(() => writingTo(dirname(this.#path), () => this.#store(content, expected, signal)));
  }

  /** Without a tag, the manifest is in the bundle only if another one names it. */
  async publish(manifest: Document, tag: string | undefined, signal?: AbortSignal): Promise<void> {
    this.add(manifest, tag);
    if (tag !== undefined && this.#settings.isCollecting !== true) await this.commit(signal);
  }

  /** Stores a document, and points a tag at it. */
  add({ descriptor, bytes }: Document, tag: string | undefined): void {
    this.#stored.set(descriptor.digest, { ...contentOf(bytes), size: bytes.length });
    if (tag !== undefined) this.#index = withTag(this.#index, tag, named(descriptor));
  }

  /**
   * Writes the bundle with everything that its tags name.
   *
   * @returns the blobs that it leaves out
   * @throws CacheError CORRUPT for a blob of the old bundle that is damaged; BUSY when another process has written the
   *   bundle in the meantime
   */
  async commit(signal?: AbortSignal): Promise<readonly RequiredBlob[]> {
    const contents = await this.#contents(signal);
    const bytes = new BundleBytes(contents);
    const { onBytes, output, durable } = this.#settings;
    const before = await identityOf(this.#path);
    await writingTo(dirname(this.#path), async () => {
      const { path: folder } = await this.#workFolder();
      await using to = await (output?.(folder, bytes.size) ?? FileOutput.create(this.#path, folder, durable));
      onBytes?.(0, bytes.size);
      for await (const chunk of bytes.open(signal)) {
        signal?.throwIfAborted();
        await to.write(chunk);
        onBytes?.(chunk.length, bytes.size);
      }
      if (output === undefined && (await identityOf(this.#path)) !== before) throw changed(this.name);
      await to.finish();
    });
    if (output === undefined && this.#settings.isCollecting !== true) {
      await this.#old?.[Symbol.asyncDispose]();
      this.#old = await Bundle.open([this.#path], this.name, signal);
    }
    return contents.required;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#old?.[Symbol.asyncDispose]();
    await (await this.#folder)?.[Symbol.asyncDispose]();
  }

  #reader() {
    if (this.#old !== undefined) return bundleReader(this.#old);
    throw new CacheError('NOT_FOUND', `there is no file ${this.name}`);
  }

  /** Whether the bundle has a blob or leaves it out. Some of them are descriptors, which name the uncompressed layer. */
  #has(blob: BlobId & Partial<Descriptor>): boolean {
    const { digest, size } = blob;
    if (this.#stored.get(digest)?.size === size || this.#old?.sizeOf(digest) === size) return true;
    const required = this.#old?.required.get(digest);
    if (required?.size !== size && this.#settings.receivers?.hasBlob(blob) !== true) return false;
    const diffID = blob.annotations?.[UNCOMPRESSED];
    this.#left.set(digest, required ?? { digest, size, ...(isDigest(diffID) ? { diffID } : {}) });
    return true;
  }

  async #store(content: Content, expected: BlobId | undefined, signal: AbortSignal | undefined): Promise<BlobId> {
    signal?.throwIfAborted();
    const where = sourceOf(content) ?? this.name;
    if (expected !== undefined && content.path !== undefined) {
      await checkContent(content, expected, { where, signal });
      this.#stored.set(expected.digest, { ...content, size: expected.size });
      return expected;
    }
    const path = join((await this.#workFolder()).path, `${++this.#spooled}`);
    await using file = await createFile(path);
    const blob = await spoolInto(file, content, expected, { where, signal });
    this.#stored.set(blob.digest, contentOfSpool(path, blob.size));
    return blob;
  }

  /** What the bundle will consist of. */
  async #contents(signal: AbortSignal | undefined) {
    const tree = await treeOf(this, this.#index.manifests, signal);
    const layers = tree.layers.flatMap(({ digest, size }) => {
      const stored = this.#stored.get(digest);
      if (stored !== undefined) return [{ digest, size, content: stored }];
      if (this.#old?.sizeOf(digest) === undefined) return [];
      const content = this.#old.content({ digest });
      // It was checked by nobody here.
      const open = (_?: unknown, inner?: AbortSignal) =>
        verified(content.open({}, inner), { digest, size }, content.place ?? this.name);
      return [{ digest, size, content: { size, open } }];
    });
    const written = new Set(layers.map(({ digest }) => digest));
    const required = tree.layers.flatMap(({ digest }) => {
      const left = this.#left.get(digest) ?? this.#old?.required.get(digest);
      return left === undefined || written.has(digest) ? [] : [left];
    });
    return { index: this.#index, required, documents: tree.documents, layers };
  }

  #workFolder(): Promise<BundleFolder> {
    return (this.#folder ??= BundleFolder.make(this.#path));
  }
}

function contentOfSpool(path: string, size: number): Content & { readonly size: number } {
  return { ...contentOfFile(path, size), size };
}

async function spoolInto(
  file: FileHandle,
  content: Content,
  expected: BlobId | undefined,
  { where, signal }: { readonly where: string; readonly signal: AbortSignal | undefined },
): Promise<BlobId> {
  if (content.writeTo !== undefined && expected === undefined) return content.writeTo(file, signal);
  const bytes = content.open({}, signal);
  const hash = new BlobHash();
  const writer = new GatheringWriter(file);
  try {
    for await (const chunk of expected === undefined ? bytes : verified(bytes, expected, where)) {
      signal?.throwIfAborted();
      if (expected === undefined) hash.update(chunk);
      await writer.write(chunk);
    }
  } finally {
    await writer.end();
  }
  return expected ?? hash.finish();
}

/** An entry of the index: when a folder last used it, is not part of a bundle. */
function named({ annotations, ...descriptor }: Descriptor): Descriptor {
  const kept = Object.entries(annotations ?? {}).filter(([name]) => name !== LAST_USED);
  return kept.length === 0 ? descriptor : { ...descriptor, annotations: Object.fromEntries(kept) };
}

/** A text that changes when the file at a path is replaced or written to. */
async function identityOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeMs } = await stat(path);
    return [dev, ino, size, mtimeMs].join();
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return '';
    throw error;
  }
}

function changed(name: string): CacheError {
  return new CacheError('BUSY', `${name} was written by another process in the meantime`, {
    hint: 'run this again, so that nothing of the other process is lost',
    side: 'export',
  });
}
