import type { FileList } from '../file-list.js';
import { PAGE, type PagedReader, Pages } from '../paged-reader.js';
import type { RandomReader } from '../random-reader.js';

/** A tar that the receiver of a delta has. */
export interface DeltaSource {
  /** The name that the delta opens: see `sourceName`. */
  readonly name: string;
  /** The tar; undefined where only its list of files is known. Whole files are copied from it then, and nothing else. */
  readonly reader: RandomReader | undefined;
  readonly files: FileList;
}

/** A place in a source. */
export interface Place {
  /** The number of the source. */
  readonly source: number;
  /** In the space of all sources. */
  readonly position: number;
}

/** The memory for pages of sources, in bytes. */
const PAGE_MEMORY = 16 * 1024 * 1024;

/**
 * All sources as one row of bytes, with gaps between them, so that a number says where something is. Sources begin at whole
 * pages.
 */
export class SourceSpace {
  readonly sources: readonly DeltaSource[];
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  /** The end of the last one. */
  readonly size: number;
  readonly #readers: readonly (PagedReader | undefined)[];

  constructor(sources: readonly DeltaSource[]) {
    const pages = new Pages(PAGE_MEMORY);
    this.sources = sources;
    const starts: number[] = [];
    let end = 0;
    for (const { name, reader, files } of sources) {
      if (reader !== undefined && reader.size !== files.size) {
        throw new Error(`${name} has ${reader.size} bytes, and its list of files is of a tar of ${files.size}`);
      }
      starts.push(end);
      end = Math.ceil((end + files.size + 1) / PAGE) * PAGE;
    }
    this.starts = starts;
    this.ends = sources.map(({ files }, index) => (starts[index] ?? 0) + files.size);
    this.size = end;
    this.#readers = sources.map(({ reader }) => (reader === undefined ? undefined : pages.reader(reader)));
  }

  /** The number of the source with a position. */
  indexAt(position: number): number {
    let index = this.starts.length - 1;
    while (index > 0 && (this.starts[index] ?? 0) > position) index--;
    return index;
  }

  startOf(index: number): number {
    return this.starts[index] ?? 0;
  }

  endOf(index: number): number {
    return this.ends[index] ?? 0;
  }

  /** Whether the bytes of a source are at hand. */
  isReadable(index: number): boolean {
    return this.#readers[index] !== undefined;
  }

  /** Whether so many bytes from a position on lie in a source that is at hand. */
  has(index: number, position: number, length: number): boolean {
    return this.isReadable(index) && position >= this.startOf(index) && position + length <= this.endOf(index);
  }

  /** The page with a position; what is behind the end of the source in it is of no meaning. */
  page(index: number, position: number): Buffer {
    const reader = this.#readers[index];
    if (reader === undefined) throw new Error(`source ${index} cannot be read`);
    return reader.page(position - this.startOf(index));
  }

  /** Fills a buffer from a position; all of it has to be in that source. */
  read(index: number, into: Uint8Array, position: number): void {
    const reader = this.#readers[index];
    if (reader === undefined) throw new Error(`source ${index} cannot be read`);
    reader.read(into, position - this.startOf(index));
  }
}
