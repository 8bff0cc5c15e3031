import { PAGE } from '../paged-reader.js';
import type { Skeleton } from './skeleton.js';
import type { Place, SourceSpace } from './source-space.js';

/**
 * What a byte that differs takes from a score, to which a byte that agrees adds 1: a stretch ends where no more than two of
 * three bytes agree. Below that, differences compress worse than the bytes themselves.
 */
const MISMATCH = 2;
/** How far a score may fall before the stretch ends at the highest score. */
const DROP = 64;
/** From so many equal bytes on they are copied; fewer are differences of zero. */
const MIN_COPY = 64;
/** The same where the list of operations has become too long. */
const MIN_LONG_COPY = 4096;

/** A stretch of bytes in the new tar that agrees for the most part with one in a source. */
export interface Stretch {
  /** In bytes. */
  readonly length: number;
  readonly score: number;
}

/** Compares pieces of the new tar with the sources. Places outside of a source, and in one that cannot be read, agree in nothing. */
export class Aligner {
  readonly #space: SourceSpace;
  readonly #operations: Skeleton;

  constructor(space: SourceSpace, operations: Skeleton) {
    this.#space = space;
    this.#operations = operations;
  }

  /** Whether bytes of a piece, from `at` on, and of a source are equal. */
  isEqual(piece: Buffer, at: number, { source, position }: Place, length: number): boolean {
    if (!this.#space.has(source, position, length)) return false;
    for (let done = 0; done < length;) {
      const offset = (position + done) % PAGE;
      const run = Math.min(PAGE - offset, length - done);
      const page = this.#space.page(source, position + done);
      if (page.compare(piece, at + done, at + done + run, offset, offset + run) !== 0) return false;
      done += run;
    }
    return true;
  }

  /** How many bytes of a piece are equal to those of a source. */
  agreeing(piece: Buffer, { source, position }: Place): number {
    if (!this.#space.has(source, position, piece.length)) return 0;
    const theirs = Buffer.allocUnsafe(piece.length);
    this.#space.read(source, theirs, position);
    let agreeing = 0;
    for (let at = 0; at < piece.length; at++) if (piece[at] === theirs[at]) agreeing++;
    return agreeing;
  }

  /** The best stretch that begins at a place of a piece and of a source. */
  forward(piece: Buffer, at: number, { source, position }: Place): Stretch {
    const space = this.#space;
    const limit = space.has(source, position, 0) ? Math.min(piece.length - at, space.endOf(source) - position) : 0;
    let score = 0;
    let best = 0;
    let length = 0;
    for (let done = 0; done < limit;) {
      const offset = (position + done) % PAGE;
      const run = Math.min(PAGE - offset, limit - done);
      const page = space.page(source, position + done);
      if (page.compare(piece, at + done, at + done + run, offset, offset + run) === 0) {
        score += run;
        done += run;
        if (score <= best) continue;
        best = score;
        length = done;
        continue;
      }
      for (let next = 0; next < run; next++) {
        if (page[offset + next] === piece[at + done + next]) {
          if (++score <= best) continue;
          best = score;
          length = done + next + 1;
        } else {
          score -= MISMATCH;
          if (score < best - DROP) return { length, score: best };
        }
      }
      done += run;
    }
    return { length, score: best };
  }

  /** The best stretch that ends at a place of a piece and of a source, of up to `most` bytes. */
  backward(piece: Buffer, at: number, { source, position }: Place, most: number): Stretch {
    const space = this.#space;
    const limit = Math.min(most, position - space.startOf(source));
    let score = 0;
    let best = 0;
    let length = 0;
    for (let done = 0; done < limit;) {
      const last = position - done - 1;
      const offset = last % PAGE;
      const run = Math.min(offset + 1, limit - done);
      const page = space.page(source, last);
      for (let next = 0; next < run; next++) {
        if (page[offset - next] === piece[at - done - next - 1]) {
          if (++score <= best) continue;
          best = score;
          length = done + next + 1;
        } else {
          score -= MISMATCH;
          if (score < best - DROP) return { length, score: best };
        }
      }
      done += run;
    }
    return { length, score: best };
  }

  /** Writes the operations for a stretch. */
  write(piece: Buffer, at: number, { source, position }: Place, length: number): void {
    const operations = this.#operations;
    const minCopy = operations.isLong ? MIN_LONG_COPY : MIN_COPY;
    /** Where the bytes begin that have no operation, and those of them that are equal to the end. */
    let pending = 0;
    let equal = 0;
    const copyUntil = (end: number) => {
      if (end - equal < minCopy) return;
      operations.addData(source, position + pending, equal - pending);
      operations.copy(source, position + equal, end - equal);
      pending = end;
    };
    for (let done = 0; done < length;) {
      const offset = (position + done) % PAGE;
      const run = Math.min(PAGE - offset, length - done);
      const page = this.#space.page(source, position + done);
      if (page.compare(piece, at + done, at + done + run, offset, offset + run) !== 0) {
        for (let next = 0; next < run; next++) {
          if (page[offset + next] === piece[at + done + next]) continue;
          copyUntil(done + next);
          equal = done + next + 1;
        }
      }
      done += run;
    }
    copyUntil(length);
    // Short runs that are equal to the end are copied where all is equal.
    if (equal === pending) operations.copy(source, position + pending, length - pending);
    else operations.addData(source, position + pending, length - pending);
  }
}
