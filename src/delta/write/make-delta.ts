import { paddedSize, locatedEntries } from '../../tar/located-entries.js';
import type { FileList } from '../file-list.js';
import { HEADER_V1 } from '../format.js';
import { HeaderReader } from '../header-reader.js';
import { type RandomReader, readFully } from '../random-reader.js';
import { Aligner } from './aligned.js';
import { compressDelta, type DeltaLevel } from './compress.js';
import { KnownHeaders } from './headers.js';
import { type KnownFile, KnownFiles, headersSize } from './known-files.js';
import { Search } from './search.js';
import { Skeleton } from './skeleton.js';
import { type DeltaSource, type Place, SourceSpace } from './source-space.js';
import { streamOf } from './stream.js';
import { Turns } from './turns.js';

/** Headers of so many entries without content are kept until a file comes that may have been behind the same ones. */
const MAX_PENDING = 256;

export interface MakeOptions {
  readonly level: DeltaLevel;
  readonly signal?: AbortSignal | undefined;
}

/** A delta that is ready to be written. */
export interface MadeDelta {
  /** The tar-diff. To be read once. */
  readonly bytes: AsyncIterable<Buffer>;
  /** How many bytes of the new tar each source gives, in the order of the sources. */
  readonly given: readonly number[];
  /** How many bytes of the new tar are in the delta itself, before its compression. */
  readonly fresh: number;
}

/**
 * Makes a delta, version 1 of tar-diff, from which `applyDelta` makes the new tar out of the sources. The same input gives the
 * same bytes.
 *
 * Files of the same content are found by their digests. Headers are compared with the headers of the same path. All other
 * bytes are looked for in the sources by an index of their blocks. What agrees for the most part is written as differences,
 * as bsdiff does.
 *
 * Memory does not grow with the tars: they are read at any position, more than once.
 *
 * @param files - the files of the new tar
 * @throws what reading throws; the signal's reason
 */
export async function makeDelta(
  tar: RandomReader,
  files: FileList,
  sources: readonly DeltaSource[],
  { level, signal }: MakeOptions,
): Promise<MadeDelta> {
  const turns = new Turns(signal);
  const space = new SourceSpace(sources);
  const operations = new Skeleton(space);
  await new Comparison(tar, files, space, { operations, turns }).run();
  operations.finish();
  const given = [...operations.given];
  const bytes = async function* () {
    yield HEADER_V1;
    yield* compressDelta(streamOf(operations, space, tar), operations.streamSize, { level, turns });
  };
  return { bytes: bytes(), given, fresh: tar.size - given.reduce((sum, one) => sum + one, 0) };
}

/** Headers that have no operations yet. */
interface Pending {
  readonly raw: Buffer;
  readonly path: string;
  /** In the new tar. */
  readonly start: number;
}

/** Writes the operations for a whole tar, entry after entry. */
class Comparison {
  readonly #tar: RandomReader;
  readonly #files: FileList;
  readonly #space: SourceSpace;
  readonly #operations: Skeleton;
  readonly #turns: Turns;
  readonly #knownFiles: KnownFiles;
  readonly #knownHeaders: KnownHeaders;
  readonly #aligner: Aligner;
  readonly #search: Search;
  /** Where the sources go on, if they go on as before. */
  #next: Place | undefined;
  #pending: Pending[] = [];

  constructor(
    tar: RandomReader,
    files: FileList,
    space: SourceSpace,
    { operations, turns }: { readonly operations: Skeleton; readonly turns: Turns },
  ) {
    this.#tar = tar;
    this.#files = files;
    this.#space = space;
    this.#operations = operations;
    this.#turns = turns;
    this.#knownFiles = new KnownFiles(space);
    this.#knownHeaders = new KnownHeaders(space);
    this.#aligner = new Aligner(space, operations);
    this.#search = new Search(tar, space, { aligner: this.#aligner, operations, turns });
  }

  async run(): Promise<void> {
    await this.#knownHeaders.read(this.#turns);
    let end = 0;
    let file = 0;
    for await (const { header, start, content } of locatedEntries(new HeaderReader(this.#tar))) {
      if (content + header.size > this.#tar.size) break;
      end = content;
      this.#pending.push({ raw: header.raw, path: header.name, start });
      while ((this.#files.offsets[file] ?? Number.POSITIVE_INFINITY) < content) file++;
      const isListed = this.#files.offsets[file] === content && this.#files.sizes[file] === header.size;
      const known = isListed ? this.#knownFiles.find(this.#files, file, this.#afterPending()) : undefined;
      await this.#turns.next();
      if (header.size === 0 && known === undefined && this.#pending.length < MAX_PENDING) continue;
      this.#writePending(known, file);
      end = Math.min(content + paddedSize(header.size), this.#tar.size);
      if (known !== undefined) {
        this.#operations.copy(known.source, known.position, header.size);
        this.#next = { source: known.source, position: known.position + header.size };
      } else {
        const likely = this.#knownHeaders.contentOf(header.name);
        this.#next = await this.#search.search(content, content + header.size, likely);
      }
      this.#writePadding(content + header.size, end);
    }
    this.#writePending(undefined, file);
    // The end of the tar, and all of what is no tar.
    await this.#search.search(end, this.#tar.size, this.#next);
  }

  /** Where the sources go on behind the pending headers. */
  #afterPending(): Place | undefined {
    if (this.#next === undefined) return undefined;
    const length = this.#pending.reduce((sum, { raw }) => sum + raw.length, 0);
    return { source: this.#next.source, position: this.#next.position + length };
  }

  /** @param known - the content that follows, in a source; its number in the list of files is `file` */
  #writePending(known: KnownFile | undefined, file: number): void {
    const pending = this.#pending;
    const last = pending.at(-1);
    if (last === undefined) return;
    this.#pending = [];
    const end = last.start + last.raw.length;
    const isReadable = known !== undefined && this.#space.isReadable(known.source);
    // Where a source cannot be read, all that is between two files is the same, or not known.
    const same = known?.hasSameHeaders === true && !isReadable ? end - headersSize(this.#files, file) : undefined;
    for (const { raw, path, start } of pending) {
      if (known !== undefined && start === same) {
        this.#operations.copy(known.source, known.position - (end - start), end - start);
        return;
      }
      const beforeContent =
        start === last.start && isReadable
          ? { source: known.source, position: known.position - raw.length }
          : undefined;
      const best = this.#knownHeaders.best(raw, path, [beforeContent, this.#next], this.#aligner);
      if (best === undefined) {
        this.#operations.data(raw.length);
        this.#next = undefined;
      } else {
        this.#aligner.write(raw, 0, best, raw.length);
        this.#next = { source: best.source, position: best.position + raw.length };
      }
    }
  }

  /** Padding is copied where a copy goes on, and else is in the delta: it is all zeros. */
  #writePadding(start: number, end: number): void {
    if (start === end) return;
    const length = end - start;
    const padding = Buffer.allocUnsafe(length);
    readFully(this.#tar, padding, start);
    const next = this.#next;
    if (next !== undefined && this.#aligner.isEqual(padding, 0, next, length)) {
      this.#operations.copy(next.source, next.position, length);
      this.#next = { source: next.source, position: next.position + length };
    } else {
      this.#operations.data(length);
      this.#next = undefined;
    }
  }
}
