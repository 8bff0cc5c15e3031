import { paddedSize } from '../../tar/located-entries.js';
import { DIGEST, HEADER_CHECK, type FileList } from '../file-list.js';
import type { Place, SourceSpace } from './source-space.js';

/** How many files of one content are looked at. */
const MAX_SAME = 64;

/** A file of a source. */
export interface KnownFile extends Place {
  /** Whether the bytes before it, to the file before it, are those of the new tar, as far as their check says. */
  readonly hasSameHeaders: boolean;
}

/** The files of all sources by their content. */
export class KnownFiles {
  readonly #space: SourceSpace;
  /** The number of the first file of all in a bucket, plus 1; and for each file the next one of its bucket. */
  readonly #buckets: Uint32Array;
  readonly #next: Uint32Array;
  /** The number of the first file of each source. */
  readonly #firsts: number[] = [];

  constructor(space: SourceSpace) {
    this.#space = space;
    let count = 0;
    for (const { files } of space.sources) {
      this.#firsts.push(count);
      count += files.sizes.length;
    }
    this.#buckets = new Uint32Array(2 ** Math.ceil(Math.log2(2 * count + 2)));
    this.#next = new Uint32Array(count);
    // From the last to the first, so that the first ones are found first.
    for (const [source, { files }] of [...space.sources.entries()].toReversed()) {
      for (let index = files.sizes.length - 1; index >= 0; index--) {
        const number = (this.#firsts[source] ?? 0) + index;
        const bucket = this.#bucketOf(files.digests, index);
        this.#next[number] = this.#buckets[bucket] ?? 0;
        this.#buckets[bucket] = number + 1;
      }
    }
  }

  #bucketOf(digests: Buffer, index: number): number {
    return digests.readUInt32LE(index * DIGEST) & (this.#buckets.length - 1);
  }

  /**
   * A file of a source with the same content as a file of the new tar. Of several, the one where a copy would go on, so that
   * files that follow each other are one copy; or the first with the same headers; or the first one.
   *
   * @param next - where a copy would go on
   */
  find(files: FileList, index: number, next: Place | undefined): KnownFile | undefined {
    let first: KnownFile | undefined;
    let number = this.#buckets[this.#bucketOf(files.digests, index)] ?? 0;
    for (let seen = 0; number !== 0 && seen < MAX_SAME; seen++) {
      const source = this.#sourceOf(number - 1);
      const theirs = this.#space.sources[source]?.files;
      const at = number - 1 - (this.#firsts[source] ?? 0);
      number = this.#next[number - 1] ?? 0;
      if (theirs === undefined || !isSameFile(files, index, theirs, at)) continue;
      const position = this.#space.startOf(source) + (theirs.offsets[at] ?? 0);
      const hasSameHeaders = hasEqualHeaders(files, index, theirs, at);
      if (position === next?.position) return { source, position, hasSameHeaders };
      if (first === undefined || (hasSameHeaders && !first.hasSameHeaders))
        first = { source, position, hasSameHeaders };
    }
    return first;
  }

  #sourceOf(number: number): number {
    let source = this.#firsts.length - 1;
    while (source > 0 && (this.#firsts[source] ?? 0) > number) source--;
    return source;
  }
}

function isSameFile(a: FileList, at: number, b: FileList, other: number): boolean {
  if (a.sizes[at] !== b.sizes[other]) return false;
  return a.digests.compare(b.digests, other * DIGEST, (other + 1) * DIGEST, at * DIGEST, (at + 1) * DIGEST) === 0;
}

/** Whether the bytes between two files and the files before them are equal, by their checks. */
function hasEqualHeaders(a: FileList, at: number, b: FileList, other: number): boolean {
  if (headersSize(a, at) !== headersSize(b, other)) return false;
  const size = HEADER_CHECK;
  return a.headerChecks.compare(b.headerChecks, other * size, (other + 1) * size, at * size, (at + 1) * size) === 0;
}

/** The bytes between a file and the one before it. */
export function headersSize({ offsets, sizes }: FileList, index: number): number {
  const before = index === 0 ? 0 : (offsets[index - 1] ?? 0) + paddedSize(sizes[index - 1] ?? 0);
  return (offsets[index] ?? 0) - before;
}
