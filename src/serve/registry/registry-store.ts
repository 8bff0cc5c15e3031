import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';
import type { Access } from '../access.js';
import type { OpenContent } from '../content-answer.js';

/** What names a manifest in a repository. */
export type Reference = { readonly tag: string } | { readonly digest: Digest };

/** A manifest that is about another, as a list of referrers shows it. */
export interface Referrer {
  readonly descriptor: Descriptor;
  readonly artifactType: string | undefined;
}

/**
 * What a registry serves. Repositories share the blobs of the store: who may read every repository sees every blob in
 * each; others see the blobs that their repositories need.
 */
export interface RegistryStore {
  /** The tags of a repository, in ASCII order; undefined for an unknown repository. */
  tags(repository: string): Promise<readonly string[] | undefined>;
  /** The manifest that a repository has under a reference; undefined for none. */
  find(repository: string, reference: Reference): Promise<Descriptor | undefined>;
  /** The size of a blob or manifest, in bytes; undefined for one that is missing, or known to be damaged. */
  size(digest: Digest): Promise<number | undefined>;
  /** Opens a blob or manifest; undefined for one that has no size. */
  open(digest: Digest): Promise<OpenContent | undefined>;
  /** The blobs among these that a caller may not see. */
  unseen(access: Access, digests: readonly Digest[]): Promise<readonly Digest[]>;
  /** What a manifest in a repository gives access to; of another blob, the blob alone. */
  contentsOf(digest: Digest): Promise<ReadonlySet<Digest>>;
  /** The manifests in a repository whose subject is this one. */
  referrers(repository: string, subject: Digest): Promise<readonly Referrer[]>;
  /** Records that a manifest is being pulled, and keeps what it needs from gc for a while. */
  pulled(repository: string, descriptor: Descriptor, reference: Reference): Promise<void>;
  /** Left out for a store that is served read-only. */
  readonly writer?: RegistryWriter | undefined;
}

export interface RegistryWriter {
  /**
   * Begins an upload.
   *
   * @param size - as far as the client tells it, in bytes
   * @throws Refusal 507 without room for it
   */
  begin(algorithm: string, size: number | undefined): Promise<BlobUpload>;
  /**
   * Keeps a blob from gc for as long as a client may take to push a manifest that names it, and makes it a blob of the
   * repository for that time. The caller has to be known to have the blob, or to see it.
   */
  keep(repository: string, digest: Digest): Promise<void>;
  /**
   * Stores a manifest, and points tags at it, all at once. Without tags only its digest names it.
   *
   * @returns the blobs that it needs and that are not here, or not of this size: nothing is stored then
   */
  publish(repository: string, manifest: Document, options: PublishOptions): Promise<readonly Digest[]>;
  /** Removes a tag, or a manifest with all its tags. */
  remove(repository: string, reference: Reference): Promise<Removal>;
}

export interface PublishOptions {
  readonly tags: readonly string[];
  /** What has to be here already. */
  readonly needs: readonly BlobId[];
  /** Looks at what the first tag, or the digest, stands for at the moment of the change. @throws Refusal to stop it */
  readonly check: (current: Descriptor | undefined) => void;
}

/** `needed`: an index in the repository names the manifest. */
export type Removal = 'removed' | 'unknown' | 'needed';

/** A blob on its way in. Nobody sees it before `finish`; disposal gives it up. */
export interface BlobUpload extends AsyncDisposable {
  /** How much has come, in bytes. */
  readonly size: number;
  /**
   * Adds bytes. What has come before a failure of the client stays.
   *
   * @throws what the bytes throw; Refusal 507 without room, 413 over the limit
   */
  append(bytes: AsyncIterable<Uint8Array>): Promise<void>;
  /**
   * Checks, syncs and shows the blob to others.
   *
   * @returns false for other bytes than those of the digest: the upload is given up then
   */
  finish(digest: Digest): Promise<boolean>;
}
