import type { Foretold } from '../../graph/foretell.js';
import type { CacheRecord, Link } from '../../buildkit/cache-config.js';
import type { CauseKind, FoundCause } from './cause.js';
import { compareTrees, type Difference, type Differences, modesOf } from './compare-trees.js';
import { definitionChange } from './definition-change.js';
import { withHints } from './definition-hints.js';
import type { TreeEntry } from './layer-tree.js';
import type { Side } from './side.js';

/**
 * Finds where two caches part: the steps of the second cache that miss although all before them hit or are paired with a step of
 * the first cache. A step that has a pair hides no second cause behind it.
 */
export class CauseFinder {
  readonly #a: Side;
  readonly #b: Side;
  readonly #foretold: Foretold;
  readonly #signal: AbortSignal | undefined;
  /** For each record of the second cache, the records of the first cache that it stands for. */
  readonly #pairs = new Map<number, ReadonlySet<number>>();
  /** Steps of the first cache that no step of the second cache hits, by their digests. */
  readonly #gone = new Map<string, number[]>();
  readonly #isGone: ReadonlySet<number>;
  readonly #used = new Set<number>();
  readonly #found: FoundCause[] = [];

  constructor(a: Side, b: Side, foretold: Foretold, signal: AbortSignal | undefined) {
    this.#a = a;
    this.#b = b;
    this.#foretold = foretold;
    this.#signal = signal;
    const { hits, own } = foretold;
    const taken = new Set(own.order.flatMap((record) => [...(hits[record] ?? [])]));
    this.#isGone = new Set([...a.steps.records.keys()].filter((record) => !taken.has(record)));
    for (const record of this.#isGone) {
      const { digest = '' } = a.steps.records[record] ?? {};
      this.#gone.set(digest, [...(this.#gone.get(digest) ?? []), record]);
    }
    for (const record of own.order) {
      const hit = hits[record];
      if (hit !== undefined && hit.size > 0) this.#pairs.set(record, hit);
    }
  }

  /** In the order of the build. */
  async find(): Promise<readonly FoundCause[]> {
    const { own, hits, outcomes } = this.#foretold;
    for (const record of own.order) {
      if (this.#b.steps.isSource(record)) continue;
      if ((hits[record]?.size ?? 0) === 0 && !this.#pairs.has(record)) await this.#part(record);
      if (outcomes.get(record) !== 'noResult') continue;
      const isCut = [...(hits[record] ?? [])].some((hit) => this.#a.steps.hasResult(hit));
      this.#say(record, isCut ? 'layerMissing' : 'noResult', []);
    }
    return withHints(this.#found, this.#b, this.#foretold.own);
  }

  #say(
    record: number,
    kind: CauseKind,
    details: readonly string[],
    more: Pick<FoundCause, 'other' | 'of' | 'modes'> = {},
  ): void {
    this.#found.push({ record, kind, details, ...more });
  }

  #pair(record: number, others: readonly number[]): void {
    this.#pairs.set(record, new Set(others));
    for (const other of others) this.#used.add(other);
  }

  #isAligned(mine: readonly Link[], theirs: readonly Link[] = []): boolean {
    return mine.some(({ link }) => theirs.some((other) => this.#pairs.get(link)?.has(other.link) === true));
  }

  /** Whether an input is no step on either side. */
  #isSourceAlone(mine: readonly Link[], theirs: readonly Link[] = []): boolean {
    const [a, b] = [this.#a.steps, this.#b.steps];
    return mine.every(({ link }) => b.isSource(link)) && theirs.every(({ link }) => a.isSource(link));
  }

  #fits(mine: CacheRecord['inputs'], theirs: CacheRecord['inputs']): boolean {
    return (
      mine.length === theirs.length &&
      mine.every((links, input) => this.#isAligned(links, theirs[input]) || this.#isSourceAlone(links, theirs[input]))
    );
  }

  #countAligned(mine: CacheRecord['inputs'], theirs: CacheRecord['inputs']): number {
    return mine.filter((links, input) => this.#isAligned(links, theirs[input])).length;
  }

  /** Says why a step has no counterpart, and pairs it with one. */
  async #part(record: number): Promise<void> {
    const [a, b] = [this.#a.steps, this.#b.steps];
    const mine = this.#foretold.own.of(record);
    const digest = b.records[record]?.digest ?? '';
    const same = (this.#gone.get(digest) ?? []).filter((other) => a.inputs(other).length === mine.length);
    const best = same
      .toSorted((x, y) => this.#countAligned(mine, a.inputs(y)) - this.#countAligned(mine, a.inputs(x)))
      .find((other) => this.#fits(mine, a.inputs(other)));
    if (best !== undefined) {
      this.#pair(record, [best]);
      await this.#compareInputs(record, best);
      return;
    }
    if (this.#isElsewhere(record, same) || this.#isInserted(record)) return;
    if (await this.#isRedefined(record)) return;
    const isOnKnownGround = mine.every(
      (links) => links.some(({ link }) => this.#pairs.has(link)) || links.every(({ link }) => b.isSource(link)),
    );
    if (isOnKnownGround) this.#say(record, 'new', []);
  }

  async #compareInputs(record: number, other: number): Promise<void> {
    const theirs = this.#a.steps.inputs(other);
    for (const [input, mine] of this.#foretold.own.of(record).entries()) {
      const links = theirs[input] ?? [];
      if (!this.#isAligned(mine, links) && this.#isSourceAlone(mine, links)) {
        await this.#sourceDiffers(record, other, input);
      }
    }
  }

  /** The same step one place higher in the first cache: the step between went, or the two changed places. */
  #isElsewhere(record: number, same: readonly number[]): boolean {
    const [a, b] = [this.#a.steps, this.#b.steps];
    const [first = []] = this.#foretold.own.of(record);
    for (const other of same) {
      for (const { link: below } of a.inputs(other)[0] ?? []) {
        if (a.isSource(below) || !this.#isGone.has(below) || !this.#isAligned(first, a.inputs(below)[0])) continue;
        const digest = a.records[below]?.digest;
        const swapped = this.#consumers(record).find((consumer) => b.records[consumer]?.digest === digest);
        this.#say(record, swapped === undefined ? 'deleted' : 'moved', [], { other: below });
        this.#pair(record, [swapped === undefined ? other : below]);
        if (swapped !== undefined) this.#pair(swapped, [other]);
        return true;
      }
    }
    return false;
  }

  /** The step that takes this step stands on what this step stands on, in the first cache. */
  #isInserted(record: number): boolean {
    const [a, b] = [this.#a.steps, this.#b.steps];
    if (this.#gone.has(b.records[record]?.digest ?? '')) return false;
    const [first = []] = this.#foretold.own.of(record);
    for (const consumer of this.#consumers(record)) {
      for (const other of this.#gone.get(b.records[consumer]?.digest ?? '') ?? []) {
        const below = a.inputs(other)[0];
        if (below === undefined || !this.#isAligned(first, below)) continue;
        this.#say(record, 'inserted', []);
        const stands = below.filter(({ link: to }) =>
          first.some(({ link }) => this.#pairs.get(link)?.has(to) === true),
        );
        this.#pairs.set(record, new Set(stands.map(({ link }) => link)));
        return true;
      }
    }
    return false;
  }

  /** A step with the same inputs and another definition. */
  async #isRedefined(record: number): Promise<boolean> {
    const [a, b] = [this.#a, this.#b];
    const mine = this.#foretold.own.of(record);
    const kind = b.kind(record);
    const candidates = this.#candidates(mine).filter((other) => {
      const otherKind = a.kind(other);
      return this.#fits(mine, a.steps.inputs(other)) && (kind === otherKind || kind === 'step' || otherKind === 'step');
    });
    const wanted = new Set(this.#consumers(record).map((consumer) => b.steps.records[consumer]?.digest));
    const folders = new Set(b.summary(record)?.folders);
    const score = (other: number): readonly number[] => [
      Number(a.kind(other) === kind),
      (a.steps.consumers[other] ?? []).filter((consumer) => wanted.has(a.steps.records[consumer.record]?.digest))
        .length,
      this.#countAligned(mine, a.steps.inputs(other)),
      Number(a.summary(other)?.folders.some((folder) => folders.has(folder)) === true),
    ];
    const [best] = candidates.map((other) => ({ other, score: score(other) })).toSorted(byScore);
    if (best === undefined) return false;
    this.#pair(record, [best.other]);
    const { kind: what, details } = definitionChange(a.facts(best.other), b.facts(record));
    this.#say(record, what, details, { other: best.other });
    await this.#compareInputs(record, best.other);
    return true;
  }

  /** Steps that are gone and may stand on the same inputs. */
  #candidates(mine: CacheRecord['inputs']): number[] {
    const { steps } = this.#a;
    const found = new Set<number>();
    for (const { link } of mine.flat()) {
      for (const pair of this.#pairs.get(link) ?? []) {
        for (const { record } of steps.consumers[pair] ?? []) found.add(record);
      }
    }
    if (mine.every((links) => links.every(({ link }) => this.#b.steps.isSource(link)))) {
      for (const record of this.#isGone) {
        if (steps.inputs(record).every((links) => links.every(({ link }) => steps.isSource(link)))) found.add(record);
      }
    }
    return [...found].filter((one) => this.#isGone.has(one) && !steps.isSource(one) && !this.#used.has(one));
  }

  /** The own steps that take a step. */
  #consumers(record: number): number[] {
    const all = (this.#b.steps.consumers[record] ?? []).map((consumer) => consumer.record);
    return all.filter((consumer) => this.#foretold.own.has(consumer));
  }

  /** An input that is no step has another key: an image, or the content that a step took. */
  async #sourceDiffers(record: number, other: number, input: number): Promise<void> {
    const [a, b] = [this.#a, this.#b];
    const plain = (links: readonly Link[] = []) =>
      links.filter(({ selector }) => selector === '').map(({ link }) => link);
    const mine = plain(this.#foretold.own.of(record)[input]);
    const theirs = plain(a.steps.inputs(other)[input]);
    const [key, otherKey] = [mine[0], theirs[0]];
    if (key === undefined || otherKey === undefined) return;
    if (!b.steps.isContent(key) || !a.steps.isContent(otherKey)) {
      const before = await this.#filesOfImage(a, theirs);
      const after = await this.#filesOfImage(b, mine);
      const paths = before && after ? seen(compareTrees(before, after)).flatMap((one) => one.paths) : [];
      this.#say(record, 'baseImage', [...new Set(paths)].toSorted(), { other });
      return;
    }
    if (a.kind(other) === 'RUN' && input > 0) {
      this.#say(record, 'mount', [], { other });
      return;
    }
    const [before, after] = [await this.#filesOf(a, other), await this.#filesOf(b, record)];
    if (before === undefined || after === undefined) {
      this.#say(record, 'unknownContent', [], { other });
      return;
    }
    const differences = seen(compareTrees(before, after)).map((difference) => ({ ...difference, before, after }));
    // The layer of a step does not show the modes of COPY --chmod, nor the copied folder's own mode; what was read does.
    const [read, readNow] = [await a.contentOf(otherKey, this.#signal), await b.contentOf(key, this.#signal)];
    if (read !== undefined && readNow !== undefined) {
      for (const difference of seen(compareTrees(read, readNow))) {
        if (differences.some(({ what }) => what === difference.what)) continue;
        differences.push({ ...difference, before: read, after: readNow });
      }
    }
    if (differences.length === 0) this.#say(record, 'unseen', [], { other });
    for (const { what, paths, ...trees } of differences) {
      const modes = what === 'mode' ? modesOf(paths, trees.before, trees.after) : undefined;
      this.#say(record, what, paths, { other, of: trees.after.size, modes });
    }
  }

  async #filesOf(side: Side, record: number): Promise<ReadonlyMap<string, TreeEntry> | undefined> {
    const top = side.topLayer(record);
    return top === undefined ? undefined : (await side.tree(top, this.#signal))?.entries;
  }

  async #filesOfImage(side: Side, records: readonly number[]): Promise<ReadonlyMap<string, TreeEntry> | undefined> {
    const layers = records.map((record) => side.imageLayers(record)).find((known) => known !== undefined);
    if (layers === undefined) return undefined;
    const files = new Map<string, TreeEntry>();
    for (const layer of layers) {
      for (const [path, entry] of (await side.tree(layer, this.#signal))?.entries ?? []) files.set(path, entry);
    }
    return files;
  }
}

function byScore(
  { score: x }: { readonly score: readonly number[] },
  { score: y }: { readonly score: readonly number[] },
): number {
  for (const [at, value] of x.entries()) if (value !== y[at]) return (y[at] ?? 0) - value;
  return 0;
}

/** Differences that a key sees: all but times. */
function seen(differences: Differences): { what: Exclude<Difference, 'mtime'>; paths: readonly string[] }[] {
  return [...differences].flatMap(([what, paths]) => (what === 'mtime' ? [] : [{ what, paths }]));
}
