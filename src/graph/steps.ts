import type { CacheRecord, Link } from '../buildkit/cache-config.js';
import { links } from './check.js';
import { endsOf } from './ends.js';
import { type Graph, hasResults, knownOfStacks, withParents } from './graph.js';
import type { Digest } from '../oci/digest.js';
import { compareText } from '../oci/json.js';
import { dependenciesFirst } from './order.js';

/** A record that links to another record. */
export interface Consumer {
  readonly record: number;
  readonly input: number;
  readonly selector: string;
}

/** The records of one cache as steps of builds and what the steps take. */
export class Steps {
  readonly graph: Graph;
  readonly records: readonly CacheRecord[];
  /** The records that link to each record. */
  readonly consumers: readonly (readonly Consumer[])[];

  /** Whether a layer and all its parents are described. */
  readonly #isDescribed: (layer: number) => boolean;

  constructor(graph: Graph) {
    this.graph = graph;
    this.#isDescribed = knownOfStacks<boolean>(
      graph.layers,
      (layer, below) => below !== false && this.#isDescribedAlone(layer),
    );
    this.records = graph.records;
    const consumers: Consumer[][] = this.records.map(() => []);
    for (const [record, { inputs }] of this.records.entries()) {
      for (const [input, alternatives] of inputs.entries()) {
        for (const { link, selector } of alternatives) consumers[link]?.push({ record, input, selector });
      }
    }
    this.consumers = consumers;
  }

  inputs(record: number): CacheRecord['inputs'] {
    return this.records[record]?.inputs ?? [];
  }

  /** Whether a record is no step: a source such as an image, or the content of an input. */
  isSource(record: number): boolean {
    return this.inputs(record).length === 0;
  }

  /**
   * Whether a record is the key of an input's content: a source that stands alone, or with a step of which a part is taken. An
   * image has two sources without selectors, for its manifest and for its layers.
   */
  isContent(record: number): boolean {
    if (!this.isSource(record)) return false;
    return (this.consumers[record] ?? []).every(({ record: consumer, input, selector }) => {
      const others = (this.inputs(consumer)[input] ?? []).filter(({ link }) => link !== record);
      return selector === '' && !others.some((other) => this.isSource(other.link) && other.selector === '');
    });
  }

  /** The steps that no other record links to. */
  ends(): number[] {
    return endsOf(this.records).filter((record) => !this.isSource(record));
  }

  /** The blobs of the newest result of a record, the lowest first; none where it has no result. */
  newestStack(record: number): readonly Digest[] {
    const { layers } = this.graph;
    const { results = [], chains = [] } = this.records[record] ?? {};
    const newest = [...results, ...chains].toSorted((x, y) => compareText(y.createdAt, x.createdAt))[0];
    if (newest === undefined) return [];
    const stack = 'layers' in newest ? newest.layers : [...withParents(layers, newest.layer)].toReversed();
    return stack.flatMap((index) => layers[index]?.blob ?? []);
  }

  hasResult(record: number): boolean {
    const found = this.records[record];
    return found !== undefined && hasResults(found);
  }

  /** Whether BuildKit can load a result of a record: one whose layers are all described. */
  isLoadable(record: number): boolean {
    const { results = [], chains = [] } = this.records[record] ?? {};
    return (
      results.some(({ layer }) => this.#isDescribed(layer)) ||
      chains.some(({ layers }) => layers.every((index) => this.#isDescribedAlone(index)))
    );
  }

  #isDescribedAlone(index: number): boolean {
    const blob = this.graph.layers[index]?.blob;
    return blob !== undefined && this.graph.descriptors.has(blob);
  }
}

/**
 * The steps of the build that wrote a cache, and the ways to each of them that are its own. A builder that imported another
 * cache exports the keys of that cache too, as further alternatives without results (solver/exporter.go, addBacklinks).
 */
export class OwnSteps {
  /** For each input of an own record, its own alternatives. */
  readonly alternatives = new Map<number, readonly (readonly Link[])[]>();
  /** Inputs come before the steps that take them. */
  readonly order: readonly number[];

  /** @param isHit - whether a record hits the other cache */
  constructor(steps: Steps, isHit: (record: number) => boolean) {
    const open = steps.ends();
    for (let record = open.pop(); record !== undefined; record = open.pop()) {
      if (this.alternatives.has(record)) continue;
      const own = steps.inputs(record).map((all) => ownAlternatives(steps, all, isHit));
      this.alternatives.set(record, own);
      for (const { link } of own.flat()) open.push(link);
    }
    const all = [...this.alternatives.keys()].toSorted((a, b) => a - b);
    const places = new Map(all.map((record, place) => [record, place]));
    const { order } = dependenciesFirst(all.length, (place) =>
      links(steps.records[all[place] ?? -1]).flatMap((link) => places.get(link) ?? []),
    );
    this.order = order.flatMap((place) => all[place] ?? []);
  }

  of(record: number): readonly (readonly Link[])[] {
    return this.alternatives.get(record) ?? [];
  }

  has(record: number): boolean {
    return this.alternatives.has(record);
  }
}

function ownAlternatives(steps: Steps, all: readonly Link[], isHit: (record: number) => boolean): readonly Link[] {
  const made = all.filter(({ link }) => !steps.isSource(link));
  const withResults = made.filter(({ link }) => steps.hasResult(link));
  const unknown = made.filter(({ link }) => !isHit(link));
  const own = new Set(withResults.length > 0 ? withResults : unknown.length > 0 ? unknown : made);
  return all.filter((one) => steps.isSource(one.link) || own.has(one));
}
