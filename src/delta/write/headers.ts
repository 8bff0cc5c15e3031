import { locatedEntries } from '../../tar/located-entries.js';
import { HeaderReader } from '../header-reader.js';
import type { Aligner } from './aligned.js';
import { PathTable } from './path-table.js';
import type { Place, SourceSpace } from './source-space.js';
import type { Turns } from './turns.js';

/** Headers are written as differences to others that agree in more than so much of their bytes. */
const SIMILAR = 0.75;

/** The headers of all entries of the sources, by path. */
export class KnownHeaders {
  readonly #space: SourceSpace;
  readonly #paths = new PathTable();
  /** By the path without its numbers. */
  readonly #alike = new PathTable();

  constructor(space: SourceSpace) {
    this.#space = space;
  }

  /** Reads the headers of the sources that are at hand. */
  async read(turns: Turns): Promise<void> {
    for (const [source, { reader }] of this.#space.sources.entries()) {
      if (reader === undefined) continue;
      const first = this.#space.startOf(source);
      for await (const { header, start, content } of locatedEntries(new HeaderReader(reader))) {
        const headers = { start: first + start, length: content - start };
        this.#paths.add(header.name, headers);
        this.#alike.add(withoutNumbers(header.name), headers);
        await turns.next();
      }
    }
  }

  /** The content of the entry with a path, or of one with a path like it. */
  contentOf(path: string): Place | undefined {
    const found = this.#paths.get(path) ?? this.#alike.get(withoutNumbers(path));
    if (found === undefined) return undefined;
    return { source: this.#space.indexAt(found.start), position: found.start + found.length };
  }

  /**
   * The headers that agree best with those of an entry; undefined where none are similar.
   *
   * @param others - where else headers like these may be
   */
  best(raw: Buffer, path: string, others: readonly (Place | undefined)[], aligner: Aligner): Place | undefined {
    const candidates = others.filter((place) => place !== undefined);
    for (const found of [this.#paths.get(path), this.#alike.get(withoutNumbers(path))]) {
      if (found?.length !== raw.length) continue;
      candidates.push({ source: this.#space.indexAt(found.start), position: found.start });
    }
    let best: Place | undefined;
    let most = raw.length * SIMILAR;
    for (const place of candidates) {
      const agreeing = aligner.agreeing(raw, place);
      if (agreeing <= most) continue;
      most = agreeing;
      best = place;
    }
    return best;
  }
}

/** Paths of two versions are alike: python3.11 and python3.13. */
function withoutNumbers(path: string): string {
  return path.replaceAll(/\d+/g, '0');
}
