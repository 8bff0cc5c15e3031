import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Content, contentOf } from '../../oci/content.js';
import type { Digest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';
import { contentOfFile, spool } from './spool.js';

/** The most bytes of documents that are held in memory; the documents of most buckets are fewer. */
const IN_MEMORY = 64 * 1024 ** 2;

/**
 * Documents that were read from a service, so that each is read once. What is too much for the memory is in a folder for
 * temporary files, until disposal.
 */
export class DocumentSpool implements AsyncDisposable {
  readonly #contents = new Map<Digest, Content>();
  readonly #most: number;
  #held = 0;
  #folder: Promise<string> | undefined;

  /** @param most - of bytes in memory */
  constructor(most = IN_MEMORY) {
    this.#most = most;
  }

  get(digest: Digest): Content | undefined {
    return this.#contents.get(digest);
  }

  async add({ descriptor: { digest }, bytes }: Document, signal?: AbortSignal): Promise<void> {
    if (this.#contents.has(digest)) return;
    const content = contentOf(bytes);
    // Two documents with the same bytes may arrive at once.
    this.#contents.set(digest, content);
    if (this.#held + bytes.length <= this.#most) {
      this.#held += bytes.length;
      return;
    }
    this.#folder ??= mkdtemp(join(tmpdir(), 'bkcache-'));
    const path = join(await this.#folder, digest.replace(':', '-'));
    await spool(content, path, signal);
    this.#contents.set(digest, contentOfFile(path, bytes.length));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const folder = await this.#folder?.catch(() => undefined);
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }
}
