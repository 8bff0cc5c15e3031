import { once } from 'node:events';
import { pack, type Pack } from 'tar-stream';
import { encodeIndex, type LayoutIndex } from '../../layout/index/index-json.js';
import { type Content, contentOf } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Document } from '../../oci/document.js';
import { goJson } from '../../oci/json.js';
import { TAR_BLOCK } from '../../tar/block.js';
import { blobName, CHECKSUMS, INDEX, OCI_LAYOUT, REQUIRED } from './bundle-names.js';
import { encodeChecksums } from './checksums.js';
import { encodeRequired, type RequiredBlob } from './required.js';
import { paddingOf } from './tar-entries.js';

/** What a bundle consists of, in the order in which it is written. */
export interface BundleContents {
  readonly index: LayoutIndex;
  readonly required: readonly RequiredBlob[];
  readonly documents: readonly Document[];
  /** With their bytes, which are checked. */
  readonly layers: readonly (BlobId & { readonly content: Content })[];
}

/** A file of a bundle. */
interface Entry {
  readonly name: string;
  readonly size: number;
  readonly content: Content;
}

/** What does not depend on the contents of a bundle: equal contents are equal bytes. */
const HEADER = { type: 'file', mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) } as const;

/** The bytes of a bundle. It takes no memory that grows with its size. */
export class BundleBytes {
  /** In bytes. */
  readonly size: number;
  readonly #entries: readonly Entry[];

  constructor(contents: BundleContents) {
    this.#entries = entriesOf(contents);
    this.size = this.#entries.reduce((sum, { size }) => sum + TAR_BLOCK + size + paddingOf(size), 2 * TAR_BLOCK);
  }

  async *open(signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
    const tar = pack();
    const fed = this.#feed(tar, signal).then(
      () => tar.finalize(),
      (error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))),
    );
    try {
      yield* tar as AsyncIterable<Uint8Array>;
    } finally {
      tar.destroy();
      await fed;
    }
  }

  async #feed(tar: Pack, signal: AbortSignal | undefined): Promise<void> {
    for (const { name, size, content } of this.#entries) {
      let sink: NodeJS.WritableStream | undefined;
      const done = new Promise<void>((resolve, reject) => {
        sink = tar.entry({ ...HEADER, name, size }, (error) => (error instanceof Error ? reject(error) : resolve()));
      });
      // A tar that its reader gives up fails here too, and that is thrown below.
      done.catch(() => undefined);
      for await (const chunk of content.open({}, signal)) {
        if (sink?.write(chunk) === false) await Promise.race([once(sink, 'drain'), done]);
      }
      sink?.end();
      await done;
    }
  }
}

function entriesOf({ index, required, documents, layers }: BundleContents): Entry[] {
  const files = new Map<string, Uint8Array>([
    [OCI_LAYOUT, goJson({ imageLayoutVersion: '1.0.0' })],
    [INDEX, encodeIndex(index)],
    ...(required.length === 0 ? [] : [[REQUIRED, encodeRequired(required)] as const]),
  ]);
  files.set(CHECKSUMS, encodeChecksums(files));
  return [
    ...Array.from(files, ([name, bytes]) => entryOf(name, bytes)),
    ...documents.map(({ descriptor, bytes }) => entryOf(blobName(descriptor.digest), bytes)),
    ...layers.map(({ digest, size, content }) => ({ name: blobName(digest), size, content })),
  ];
}

function entryOf(name: string, bytes: Uint8Array): Entry {
  return { name, size: bytes.length, content: contentOf(bytes) };
}
