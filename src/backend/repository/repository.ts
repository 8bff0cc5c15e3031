import type { CacheError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';
import type { ConversionMemory } from '../backend.js';

/** A reference as the distribution-spec has it: what names a manifest in a repository. */
export type Reference = { readonly tag: string } | { readonly digest: Digest };

/** A manifest that gc keeps until the lease ends. */
export interface LeasedManifest extends AsyncDisposable {
  readonly descriptor: Descriptor;
}

/** A manifest and its tag. The list includes manifests without a tag. */
export interface RepositoryEntry {
  readonly tag: string | undefined;
  readonly descriptor: Descriptor;
}

/** A tag whose manifest could not be found out. */
export interface UnreadTag {
  readonly tag: string;
  readonly problem: CacheError;
}

/** A place whose documents and blobs can be read by their digests. */
export interface DocumentReader {
  /** Where it is, for messages. */
  readonly name: string;
  /** How many transfers to run at once, where that is more than the number of cores: a transfer mostly waits for the network. */
  readonly concurrency?: number;
  /**
   * The bytes of a document that an entry or another manifest names, unverified. Reading a missing document throws
   * CacheError CORRUPT.
   */
  manifest(descriptor: Descriptor): Content;
  /** The bytes of a config or layer, unverified. Reading a missing blob throws CacheError CORRUPT. */
  blob(blob: BlobId): Content;
}

/**
 * Where manifests and blobs are kept by their digests, and manifests have tags: a layout on disk, or a repository in a
 * registry. Caches in either are the same, and so is the code that reads and writes them.
 */
export interface RepositoryReader extends DocumentReader {
  /**
   * The manifest of a tag or digest.
   *
   * @throws CacheError NOT_FOUND, with a hint that lists the tags
   */
  resolve(reference: Reference, signal?: AbortSignal): Promise<Descriptor>;
  /**
   * As `resolve`, with a lease on the manifest and everything below it. Left out where there is no gc.
   */
  lease?(reference: Reference, signal?: AbortSignal): Promise<LeasedManifest>;
  /** Records the use of a manifest, and the reference that named it. Left out for a place that keeps no such record. */
  used?(descriptor: Descriptor, reference: Reference, signal?: AbortSignal): Promise<void>;
  /** The tags with their manifests. */
  entries(signal?: AbortSignal): Promise<readonly (RepositoryEntry | UnreadTag)[]>;
}

/** A repository that can be written to. Disposal ends its leases, also after a failure. */
export interface Repository extends RepositoryReader, AsyncDisposable {
  /** Which of these blobs the repository has, whole. */
  present(blobs: readonly BlobId[], signal?: AbortSignal): Promise<ReadonlySet<Digest>>;
  /** The conversions of layers that ended in this repository. */
  readonly conversions?: ConversionMemory | undefined;
  /**
   * Checks and stores a blob: the whole blob or nothing.
   *
   * @param expected - undefined for bytes that are produced while they are read
   * @throws CacheError CORRUPT
   */
  write(content: Content, expected: BlobId | undefined, signal?: AbortSignal): Promise<BlobId>;
  /**
   * Stores a manifest whose blobs are stored already, and points the tag at it. Without a tag, only its digest names it.
   */
  publish(manifest: Document, tag: string | undefined, signal?: AbortSignal): Promise<void>;
}
