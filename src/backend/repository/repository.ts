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

/** A manifest, and a tag that names it; one without a tag stands in the list all the same. */
export interface RepositoryEntry {
  readonly tag: string | undefined;
  readonly descriptor: Descriptor;
}

/** A tag of which it cannot be said what it names. */
export interface UnreadTag {
  readonly tag: string;
  readonly problem: CacheError;
}

/** A place whose documents and blobs can be read by their digests. */
export interface DocumentReader {
  /** Where it is, for messages. */
  readonly name: string;
  /** How many transfers at once it is good for, where that is more than there are cores to do something. */
  readonly concurrency?: number;
  /**
   * The bytes of a document that an entry or another manifest names, unverified. Reading them throws CacheError CORRUPT
   * when they are not there.
   */
  manifest(descriptor: Descriptor): Content;
  /** A config's or layer's bytes, unverified. Reading them throws CacheError CORRUPT when they are not there. */
  blob(blob: BlobId): Content;
}

/**
 * Where manifests and blobs are kept by their digests, and manifests have tags: a layout on disk, or a repository in a
 * registry. Caches in either are the same, and so is the code that reads and writes them.
 */
export interface RepositoryReader extends DocumentReader {
  /**
   * The manifest that a tag or digest stands for.
   *
   * @throws CacheError NOT_FOUND, whose hint says what is there
   */
  resolve(reference: Reference, signal?: AbortSignal): Promise<Descriptor>;
  /**
   * As `resolve`, with a lease on the manifest and everything below it. Left out where there is no gc.
   */
  lease?(reference: Reference, signal?: AbortSignal): Promise<LeasedManifest>;
  /** Records that a manifest is being used, and what it was asked for by, where that is kept. */
  used?(descriptor: Descriptor, reference: Reference, signal?: AbortSignal): Promise<void>;
  /** Every manifest that can be asked for by name. */
  entries(signal?: AbortSignal): Promise<readonly (RepositoryEntry | UnreadTag)[]>;
}

/** A repository that is written to. Its disposal ends the leases that were taken for it, also after a failure. */
export interface Repository extends RepositoryReader, AsyncDisposable {
  /** Which of some blobs are present and can be relied on. */
  present(blobs: readonly BlobId[], signal?: AbortSignal): Promise<ReadonlySet<Digest>>;
  /** What layers became here when they were converted. */
  readonly conversions?: ConversionMemory | undefined;
  /**
   * Stores a blob, checked; the whole of it or nothing.
   *
   * @param expected - left out for bytes that are made while they are read
   * @throws CacheError CORRUPT
   */
  write(content: Content, expected: BlobId | undefined, signal?: AbortSignal): Promise<BlobId>;
  /**
   * Stores a manifest whose blobs are there, and points the tag at it. Without a tag it can be asked for by digest.
   */
  publish(manifest: Document, tag: string | undefined, signal?: AbortSignal): Promise<void>;
}
