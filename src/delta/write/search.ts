import { type RandomReader, readFully } from '../random-reader.js';
import type { Aligner } from './aligned.js';
import { BLOCK, BlockIndex } from './block-index.js';
import type { Skeleton } from './skeleton.js';
import type { Place, SourceSpace } from './source-space.js';
import type { Turns } from './turns.js';

/** The new tar is searched in pieces of this size, in bytes. */
const PIECE = 2 * 1024 * 1024;
/** The lowest score of a stretch that takes fewer bytes as operations than as data. */
const MIN_SCORE = 40;
/** The same where the list of operations has become too long. */
const MIN_LONG_SCORE = 4096;

/** A stretch of a piece that a source has. */
interface Found {
  /** In the piece. */
  readonly start: number;
  readonly length: number;
  /** Where its start is in the source. */
  readonly place: Place;
  readonly score: number;
}

/** Looks for parts of the new tar in the sources, and writes their operations. */
export class Search {
  readonly #tar: RandomReader;
  readonly #space: SourceSpace;
  readonly #aligner: Aligner;
  readonly #operations: Skeleton;
  readonly #turns: Turns;
  readonly #piece = Buffer.allocUnsafeSlow(PIECE);
  /** Made at first use: often all that is new are headers. */
  #index: BlockIndex | undefined;

  constructor(
    tar: RandomReader,
    space: SourceSpace,
    { aligner, operations, turns }: { readonly aligner: Aligner; readonly operations: Skeleton; readonly turns: Turns },
  ) {
    this.#tar = tar;
    this.#space = space;
    this.#aligner = aligner;
    this.#operations = operations;
    this.#turns = turns;
  }

  /**
   * Searches the bytes from `start` to `end` of the new tar, and writes operations for all of them.
   *
   * @param likely - where a source may have the same; undefined where nothing is known
   * @returns where a source may go on
   */
  async search(start: number, end: number, likely: Place | undefined): Promise<Place | undefined> {
    let place = likely;
    for (let at = start; at < end; at += PIECE) {
      const piece = this.#piece.subarray(0, Math.min(PIECE, end - at));
      readFully(this.#tar, piece, at);
      const done = place === undefined ? 0 : this.#goOn(piece, place);
      if (piece.length - done < BLOCK) {
        this.#operations.data(piece.length - done);
        place = moved(place, piece.length);
      } else {
        this.#index ??= await BlockIndex.of(this.#space, this.#turns);
        place = this.#searchPiece(piece, done, this.#index, place);
      }
      await this.#turns.pause();
    }
    return place;
  }

  /** Has the piece begin where a source goes on, if they agree. @returns how many bytes have operations */
  #goOn(piece: Buffer, place: Place): number {
    const { length, score } = this.#aligner.forward(piece, 0, place);
    if (score < Math.min(MIN_SCORE, piece.length)) return 0;
    this.#aligner.write(piece, 0, place, length);
    return length;
  }

  /**
   * @param begun - how many bytes have operations
   * @returns where the source of the last stretch goes on as the piece ends
   */
  #searchPiece(piece: Buffer, begun: number, index: BlockIndex, likely: Place | undefined): Place | undefined {
    let done = begun;
    let next = moved(likely, piece.length);
    index.take(piece);
    for (let at = index.next(done); at >= 0;) {
      const found = this.#best(piece, at, done, index.places);
      if (found === undefined) {
        at = index.next(at + 1);
        continue;
      }
      this.#operations.data(found.start - done);
      this.#aligner.write(piece, found.start, found.place, found.length);
      done = found.start + found.length;
      next = moved(found.place, piece.length - found.start);
      at = index.next(done);
    }
    this.#operations.data(piece.length - done);
    return next;
  }

  /**
   * The best stretch around a block.
   *
   * @param from - where a stretch may begin
   * @param positions - where the block may be in the sources
   */
  #best(piece: Buffer, at: number, from: number, positions: readonly number[]): Found | undefined {
    let best: Found | undefined;
    for (const position of positions) {
      const place = { source: this.#space.indexAt(position), position };
      if (!this.#aligner.isEqual(piece, at, place, BLOCK)) continue;
      const ahead = this.#aligner.forward(piece, at, place);
      const behind = this.#aligner.backward(piece, at, place, at - from);
      const score = ahead.score + behind.score;
      if (best !== undefined && score <= best.score) continue;
      const length = behind.length + ahead.length;
      best = { start: at - behind.length, length, place: moved(place, -behind.length), score };
    }
    const least = this.#operations.isLong ? MIN_LONG_SCORE : MIN_SCORE;
    return best !== undefined && best.score >= least ? best : undefined;
  }
}

function moved(place: Place, by: number): Place;
function moved(place: Place | undefined, by: number): Place | undefined;
function moved(place: Place | undefined, by: number): Place | undefined {
  return place === undefined ? undefined : { source: place.source, position: place.position + by };
}
