import { ByteQueue } from '../../bytes/byte-queue.js';
import { CacheError } from '../../errors.js';
import { BlobCheck } from '../../oci/blob-hash.js';
import { type Content, contentOf, readDocument } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { decodeManifest } from '../../oci/manifest.js';
import { isManifestType } from '../../oci/media-types.js';
import { contentsOf } from '../../oci/successors.js';
import { TAR_BLOCK } from '../../tar/block.js';
import type { LayoutIndex } from '../../layout/index/index-json.js';
import { namesOf } from '../../layout/index/index-json.js';
import type { RepositoryReader } from '../repository/repository.js';
import { resolveTag } from '../repository/resolve.js';
import { type BundleIndex, readDocuments, unreadable } from './bundle.js';
import type { RequiredBlob } from './required.js';
import { cutOff, type EndOfTar, MAX_END, readHeader } from './scan.js';
import type { TarHeader } from '../../tar/header.js';
import { damagedBundle, EntryJudge, hostile, paddingOf } from './tar-entries.js';

/** The most that the documents of a bundle may have together, in bytes; they are kept in memory. */
const DOCUMENTS_LIMIT = 256 * 1024 * 1024;

/** A layer that comes out of a stream. Its content can be opened once. */
export interface StreamedLayer extends BlobId {
  readonly content: Content;
}

/**
 * A bundle that comes through a pipe. Its documents come first, so that it is known what it has before its layers are
 * read, one after the other.
 */
export class StreamedBundle implements BundleIndex {
  readonly name: string;
  readonly index: LayoutIndex;
  readonly required: ReadonlyMap<Digest, RequiredBlob>;
  readonly #documents: ReadonlyMap<Digest, Buffer>;
  readonly #entries: TarEntries;

  private constructor(name: string, index: BundleIndex, documents: ReadonlyMap<Digest, Buffer>, entries: TarEntries) {
    this.name = name;
    this.index = index.index;
    this.required = index.required;
    this.#documents = documents;
    this.#entries = entries;
  }

  /**
   * Reads the documents of a bundle, and none of its layers.
   *
   * @throws CacheError CORRUPT that names the offset; USAGE for a tar whose layers come before its documents
   */
  static async open(input: AsyncIterable<Uint8Array>, name: string): Promise<StreamedBundle> {
    const entries = new TarEntries(input, name);
    const files = new Map<string, Buffer>();
    const documents = new Map<Digest, Buffer>();
    let index: BundleIndex | undefined;
    /** The documents that come next, and whether each is a manifest. */
    const expected = new Map<Digest, boolean>();
    for (;;) {
      const next = await entries.peek();
      if (next?.kind === 'document' && index === undefined) {
        files.set(next.name, await entries.take());
        continue;
      }
      if (next?.kind === 'other') {
        await entries.skip();
        continue;
      }
      if (next?.kind === 'document') throw outOfOrder(name);
      if (index === undefined) {
        if (next !== undefined && !files.has('index.json')) throw outOfOrder(name);
        index = readDocuments(files, name);
        for (const { digest } of index.index.manifests) expected.set(digest, true);
      }
      const isManifest = next && expected.get(next.digest);
      if (next === undefined || isManifest === undefined) {
        const missing = [...expected.keys()].find((digest) => !documents.has(digest));
        if (missing === undefined) return new StreamedBundle(name, index, documents, entries);
        if (next !== undefined) throw outOfOrder(name);
        throw damagedBundle(name, `it has no document ${missing}`);
      }
      const { where } = entries;
      const bytes = await entries.take();
      await readDocument(contentOf(bytes), next.digest, where, { limit: JSON_LIMIT });
      documents.set(next.digest, bytes);
      if (isManifest)
        for (const [digest, is] of documentsIn(bytes, `${name}: ${next.digest}`)) expected.set(digest, is);
    }
  }

  /** The documents as a repository: its layers are somewhere else by the time that they are asked for. */
  get reader(): RepositoryReader {
    const { name, index } = this;
    const content = ({ digest }: Pick<BlobId, 'digest'>): Content => {
      const bytes = this.#documents.get(digest);
      if (bytes !== undefined) return contentOf(bytes);
      return unreadable(new CacheError('CORRUPT', `${name} has no blob ${digest}`, { wrong: 'missing' }));
    };
    return {
      name,
      resolve: (reference) =>
        'tag' in reference
          ? Promise.resolve(resolveTag(name, index, reference.tag))
          : Promise.reject(new CacheError('NOT_FOUND', `${name} is read by its tags`)),
      entries: () =>
        Promise.resolve(index.manifests.map((descriptor) => ({ tag: namesOf(descriptor)[0], descriptor }))),
      manifest: content,
      blob: content,
    };
  }

  /**
   * The layers in their order. Each has to be read to its end, or is skipped: its bytes are checked either way.
   *
   * @throws CacheError CORRUPT that names the offset
   */
  async *layers(): AsyncGenerator<StreamedLayer, void, undefined> {
    for (;;) {
      const next = await this.#entries.peek();
      if (next === undefined) return;
      if (next.kind === 'document') throw outOfOrder(this.name);
      if (next.kind === 'other') {
        await this.#entries.skip();
        continue;
      }
      const { digest } = next;
      const { size, where } = this.#entries;
      let isOpened = false;
      const bytes = this.#entries.stream();
      const content: Content = {
        size,
        place: where,
        open() {
          if (isOpened) throw new CacheError('FAILED', `${where}: a pipe cannot be read again`);
          isOpened = true;
          return bytes;
        },
      };
      yield { digest, size, content };
      if (!isOpened) {
        const check = new BlobCheck({ digest, size }, where);
        for await (const chunk of bytes) check.update(chunk);
        check.finish();
      }
      await this.#entries.skip();
    }
  }
}

/** The documents that a manifest names, and whether each is a manifest. */
function documentsIn(bytes: Buffer, where: string): readonly (readonly [Digest, boolean])[] {
  const contents = contentsOf(decodeManifest(bytes, where));
  if (contents.kind !== 'index') return [[contents.config.digest, false]];
  return contents.manifests
    .filter(({ mediaType }: Descriptor) => isManifestType(mediaType))
    .map(({ digest }) => [digest, true] as const);
}

function outOfOrder(name: string): CacheError {
  return new CacheError('USAGE', `the documents of ${name} do not come before its layers, as a pipe needs it`, {
    hint: 'write it to a file, and unpack that file; "bkcache pack" writes bundles that go through a pipe',
  });
}

/** The entries of a tar that comes as a stream. */
class TarEntries {
  readonly #name: string;
  readonly #bytes: ByteQueue;
  readonly #judge = new EntryJudge();
  #current: { readonly header: TarHeader; readonly entry: ReturnType<EntryJudge['judge']> } | undefined;
  #left = 0;
  #held = 0;
  #at = 0;
  #ended = false;

  constructor(input: AsyncIterable<Uint8Array>, name: string) {
    this.#name = name;
    this.#bytes = new ByteQueue(input);
  }

  /** Of the data of the current entry, for messages. */
  get where(): string {
    return `${this.#name}, byte ${this.#at}`;
  }

  get size(): number {
    return this.#current?.header.size ?? 0;
  }

  /** The entry that comes next; undefined at the end, which is checked. */
  async peek(): Promise<ReturnType<EntryJudge['judge']> | undefined> {
    if (this.#current !== undefined || this.#ended) return this.#current?.entry;
    const { where } = this;
    const header = await readHeader(this.#bytes, where, this.#at === 0);
    if (!('name' in header)) {
      await this.#expectEnd(header);
      this.#ended = true;
      return undefined;
    }
    const entry = this.#judge.judge(header, where);
    this.#current = { header, entry };
    this.#at += header.raw.length;
    this.#left = header.size;
    return entry;
  }

  /** The data of the current entry, which is a document. */
  async take(): Promise<Buffer> {
    this.#held += this.size;
    if (this.size > JSON_LIMIT || this.#held > DOCUMENTS_LIMIT) {
      throw hostile(this.where, `its documents have over ${DOCUMENTS_LIMIT} bytes`);
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.stream()) chunks.push(chunk);
    await this.skip();
    return Buffer.concat(chunks);
  }

  /** The data of the current entry, as it comes. */
  async *stream(): AsyncGenerator<Uint8Array, void, undefined> {
    while (this.#left > 0) {
      const chunk = await this.#bytes.some(this.#left);
      if (chunk.length === 0) throw this.#cutShort();
      this.#left -= chunk.length;
      this.#at += chunk.length;
      yield chunk;
    }
  }

  /** Goes on to the next entry. */
  async skip(): Promise<void> {
    for await (const _ of this.stream());
    const padding = await this.#bytes.exactly(paddingOf(this.size));
    if (padding.length < paddingOf(this.size)) throw this.#cutShort();
    if (padding.some((byte) => byte !== 0)) throw damagedBundle(this.where, 'what fills the last block is not zero');
    this.#at += padding.length;
    this.#current = undefined;
  }

  async #expectEnd({ raw }: EndOfTar): Promise<void> {
    if (raw.length < TAR_BLOCK) throw this.#cutShort();
    const second = await this.#bytes.exactly(TAR_BLOCK);
    if (second.length < TAR_BLOCK) throw this.#cutShort();
    this.#at += TAR_BLOCK;
    const start = this.#at;
    for (let chunk: Uint8Array = second; chunk.length > 0; chunk = await this.#bytes.some(1024 * 1024)) {
      const wrong = this.#at - start > MAX_END ? 0 : chunk.findIndex((byte) => byte !== 0);
      if (wrong !== -1)
        throw damagedBundle(`${this.#name}, byte ${this.#at + wrong}`, 'data follows the end of the tar');
      this.#at += chunk.length;
    }
  }

  #cutShort(): CacheError {
    return cutOff(this.where);
  }
}
