import { CacheError } from '../../errors.js';
import { decodeIndex, type LayoutIndex } from '../../layout/index/index-json.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { BundleFile } from './bundle-file.js';
import { CHECKSUMS, INDEX, OCI_LAYOUT, REQUIRED } from './bundle-names.js';
import { verifyChecksums } from './checksums.js';
import { decodeRequired, type RequiredBlob } from './required.js';
import { type Section, scanBundle } from './scan.js';
import { damagedBundle } from './tar-entries.js';

/** What a bundle says of itself, apart from the bytes of its blobs. */
export interface BundleIndex {
  readonly index: LayoutIndex;
  /** The blobs that its receiver must have already; none for a whole bundle. */
  readonly required: ReadonlyMap<Digest, RequiredBlob>;
}

/**
 * Reads the files of a bundle that are no blobs.
 *
 * @throws CacheError CORRUPT
 */
export function readDocuments(documents: ReadonlyMap<string, Buffer>, name: string): BundleIndex {
  verifyChecksums(documents, name);
  const [version, index, required] = [OCI_LAYOUT, INDEX, REQUIRED].map((file) => documents.get(file));
  if (version === undefined || index === undefined) {
    const hint = 'a bundle is a tar of an OCI layout, as "bkcache pack" writes it';
    const lacks = version === undefined ? OCI_LAYOUT : INDEX;
    throw new CacheError('CORRUPT', `${name} is no bundle: it has no ${lacks}`, { hint, wrong: 'format' });
  }
  if (!/"imageLayoutVersion"\s*:\s*"1\./.test(version.toString())) {
    throw damagedBundle(`${name}, ${OCI_LAYOUT}`, 'it names no version 1.x of the layout');
  }
  const list = required === undefined ? [] : decodeRequired(required, `${name}, ${REQUIRED}`);
  if (list.length > 0 && !documents.has(CHECKSUMS)) throw damagedBundle(name, `it has no ${CHECKSUMS}`);
  return {
    index: decodeIndex(index, `${name}, ${INDEX}`),
    required: new Map(list.map((blob) => [blob.digest, blob])),
  };
}

/**
 * A bundle, read in place: a tar that is an OCI layout (skopeo's oci-archive), in one file or in parts. The headers were
 * read, and blobs are read by their offsets.
 */
export class Bundle implements BundleIndex, AsyncDisposable {
  readonly name: string;
  readonly index: LayoutIndex;
  readonly required: ReadonlyMap<Digest, RequiredBlob>;
  /** In bytes. */
  readonly size: number;
  readonly #file: BundleFile;
  readonly #blobs: ReadonlyMap<Digest, Section>;

  private constructor(name: string, file: BundleFile, blobs: ReadonlyMap<Digest, Section>, documents: BundleIndex) {
    this.name = name;
    this.index = documents.index;
    this.required = documents.required;
    this.size = file.size;
    this.#file = file;
    this.#blobs = blobs;
  }

  /**
   * @param paths - the file, or its parts in order
   * @param name - what the user calls it
   * @throws CacheError NOT_FOUND; CORRUPT that names the offset
   */
  static async open(paths: readonly string[], name: string, signal?: AbortSignal): Promise<Bundle> {
    const file = await BundleFile.open(paths);
    try {
      const { documents, blobs } = await scanBundle(file, signal);
      return new Bundle(name, file, blobs, readDocuments(documents, name));
    } catch (error) {
      await file[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The digests of all blobs in it, with their sizes in bytes. */
  get sizes(): ReadonlyMap<Digest, number> {
    return new Map(Array.from(this.#blobs, ([digest, { size }]) => [digest, size]));
  }

  /** The size of a blob in bytes; undefined for a blob that is not in it. */
  sizeOf(digest: Digest): number | undefined {
    return this.#blobs.get(digest)?.size;
  }

  /** The bytes of a blob, unverified. Reading one that is not in the bundle throws CacheError CORRUPT. */
  content({ digest }: Pick<BlobId, 'digest'>): Content {
    const section = this.#blobs.get(digest);
    if (section !== undefined) return this.#file.section(section.offset, section.size);
    const error = this.required.has(digest)
      ? new CacheError('CORRUPT', `${this.name} is a thin bundle, which leaves out blob ${digest}`, {
          hint: 'it is for those who have that blob: "bkcache unpack" takes it together with what a folder has',
          wrong: 'missing',
        })
      : new CacheError('CORRUPT', `${this.name} has no blob ${digest}`, {
          hint: 'the bundle is incomplete; have it packed again',
          wrong: 'missing',
        });
    return unreadable(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }
}

/** The content of a blob that is not there. */
export function unreadable(why: CacheError): Content {
  return { open: () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(why) }) }) };
}
