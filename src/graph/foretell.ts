import { hitsOf } from './hits.js';
import { OwnSteps, type Steps } from './steps.js';

/** What becomes of a step: its result is taken; its key is known and no result can be loaded; its key is unknown. */
export type Outcome = 'hit' | 'noResult' | 'miss';

/** What a build would do with the steps of one cache, if it imported another cache. */
export interface Foretold {
  /** For each record, the records of the imported cache that it hits. */
  readonly hits: readonly ReadonlySet<number>[];
  readonly own: OwnSteps;
  /** For each step that the solver looks at. What stands below a usable hit is not looked at. */
  readonly outcomes: ReadonlyMap<number, Outcome>;
}

/**
 * Foretells which steps of a build run, as BuildKit's solver decides (solver/edge.go): from the ends down. A hit whose
 * definitions hit all the way down spares all steps below. For a hit by the content of an input alone, the step that makes
 * that content has to be there first.
 *
 * @param build - the cache that the build wrote, or would write
 * @param imported - the cache that it imports
 */
export function foretell(build: Steps, imported: Steps): Foretold {
  const hits = hitsOf(build.records, imported.records);
  const own = new OwnSteps(build, (record) => (hits[record]?.size ?? 0) > 0);
  return { hits, own, outcomes: new Walk(build, imported, hits, own).run() };
}

class Walk {
  readonly #build: Steps;
  readonly #imported: Steps;
  readonly #hits: readonly ReadonlySet<number>[];
  readonly #own: OwnSteps;
  /** For each own record, the records that it hits before any step has run. */
  readonly #fast = new Map<number, ReadonlySet<number>>();
  readonly #outcomes = new Map<number, Outcome>();
  readonly #explored = new Set<number>();

  constructor(build: Steps, imported: Steps, hits: readonly ReadonlySet<number>[], own: OwnSteps) {
    this.#build = build;
    this.#imported = imported;
    this.#hits = hits;
    this.#own = own;
    for (const record of own.order) this.#fast.set(record, this.#fastHits(record));
  }

  run(): ReadonlyMap<number, Outcome> {
    const open = this.#build.ends();
    for (let record = open.pop(); record !== undefined; record = open.pop()) open.push(...this.#look(record));
    return this.#outcomes;
  }

  #fastHits(record: number): ReadonlySet<number> {
    const alternatives = this.#own.of(record);
    const found = [...(this.#hits[record] ?? [])].filter((candidate) => {
      const inputs = this.#imported.inputs(candidate);
      return alternatives.every((mine, input) => {
        const steps = mine.filter(({ link }) => !this.#build.isSource(link));
        return (steps.length > 0 ? steps : mine).some(({ selector, link }) =>
          inputs[input]?.some((other) => other.selector === selector && this.#fast.get(link)?.has(other.link) === true),
        );
      });
    });
    return new Set(found);
  }

  /** Decides about a step. @returns the steps that have to be looked at next */
  #look(record: number): number[] {
    if (this.#outcomes.has(record) || this.#build.isSource(record)) return [];
    const hits = [...(this.#hits[record] ?? [])];
    const usable = hits.filter((hit) => this.#imported.isLoadable(hit));
    this.#outcomes.set(record, usable.length > 0 ? 'hit' : hits.length > 0 ? 'noResult' : 'miss');
    const fast = this.#fast.get(record);
    if (usable.some((hit) => fast?.has(hit) === true)) return this.#explore(record);
    return this.#own.of(record).flatMap((mine, input) =>
      mine.flatMap(({ link }) => {
        if (this.#build.isSource(link)) return [];
        const isSpared = usable.some((hit) =>
          this.#imported.inputs(hit)[input]?.some((other) => this.#fast.get(link)?.has(other.link) === true),
        );
        return isSpared ? [] : [link];
      }),
    );
  }

  /** The ways to a record that were gone beside the one that hits: platforms whose contents are equal share a record. */
  #explore(start: number): number[] {
    const needed: number[] = [];
    const open = [start];
    for (let record = open.pop(); record !== undefined; record = open.pop()) {
      if (this.#explored.has(record)) continue;
      this.#explored.add(record);
      for (const mine of this.#own.of(record)) {
        const steps = mine.flatMap(({ link }) => (this.#build.isSource(link) ? [] : [link]));
        for (const step of steps) {
          if ((this.#fast.get(step)?.size ?? 0) > 0) open.push(step);
          else if (steps.length > 1) needed.push(step);
        }
      }
    }
    return needed;
  }
}
