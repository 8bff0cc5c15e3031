import { globTest } from '../glob.js';

/** Which tags stay. */
export interface TagPolicy {
  /** Tags that were not used for longer than this go, in milliseconds. */
  readonly maxAge?: number | undefined;
  /** Of tags whose names differ in numbers only, so many stay, the last used ones, however old they are. */
  readonly keepLast?: number | undefined;
  /** Patterns of names that go. What has two names goes when both do. */
  readonly untag?: readonly string[] | undefined;
  /** Patterns of names that stay, whatever else is said, as they are. Of two names one is enough. */
  readonly keep?: readonly string[] | undefined;
}

/** An entry of an index as a policy sees it. */
export interface TagUse {
  /** What an import could ask for it by; none for an entry without a tag. */
  readonly names: readonly string[];
  /** In milliseconds since 1970. */
  readonly lastUsed: number;
}

/** Why a tag goes. */
export type DropReason = 'untag' | 'max-age' | 'keep-last';

/** A policy whose patterns have been read. */
export class TagRules {
  readonly #policy: TagPolicy;
  readonly #keep: readonly ((name: string) => boolean)[];
  readonly #untag: readonly ((name: string) => boolean)[];

  /** @throws CacheError USAGE for an invalid pattern */
  constructor(policy: TagPolicy) {
    this.#policy = policy;
    this.#keep = (policy.keep ?? []).map((pattern) => globTest(pattern, '--keep'));
    this.#untag = (policy.untag ?? []).map((pattern) => globTest(pattern, '--untag'));
  }

  /** Whether an entry is protected by one of the patterns to keep. */
  protects({ names }: TagUse): boolean {
    return names.some((name) => this.#keep.some((test) => test(name)));
  }

  /**
   * The entries that go. Each is judged by itself, since a name may stand in an index twice; those without a tag stay.
   * With both an age and a number to keep, an entry goes when it is neither young nor among the last.
   *
   * @param now - in milliseconds since 1970
   */
  dropped<Entry extends TagUse>(entries: readonly Entry[], now: number): ReadonlyMap<Entry, DropReason> {
    const { keepLast } = this.#policy;
    const lasting = keepLast === undefined ? undefined : lastOfEach(entries, keepLast);
    const reasons = new Map<Entry, DropReason>();
    for (const entry of entries) {
      if (entry.names.length === 0 || this.protects(entry)) continue;
      const reason = this.#reason(entry, lasting, now);
      if (reason !== undefined) reasons.set(entry, reason);
    }
    return reasons;
  }

  #reason({ names, lastUsed }: TagUse, lasting: ReadonlySet<string> | undefined, now: number): DropReason | undefined {
    const { maxAge } = this.#policy;
    if (names.every((name) => this.#untag.some((test) => test(name)))) return 'untag';
    if (lasting !== undefined && names.some((name) => lasting.has(name))) return undefined;
    if (maxAge !== undefined) return now - lastUsed > maxAge ? 'max-age' : undefined;
    return lasting === undefined ? undefined : 'keep-last';
  }
}

/** A name without what counts: numbers and commit hashes. `pr-17` and `pr-18` are of one pattern, `pr-*`. */
function patternOf(tag: string): string {
  return tag.replaceAll(/(?=[a-f]*\d)[0-9a-f]{7,}|\d+/gi, '*');
}

/** The last used names of each pattern. A name that stands there twice counts once, as the younger one. */
function lastOfEach(entries: readonly TagUse[], count: number): ReadonlySet<string> {
  const used = new Map<string, number>();
  for (const { names, lastUsed } of entries) {
    for (const name of names) used.set(name, Math.max(used.get(name) ?? lastUsed, lastUsed));
  }
  const lasting = new Set<string>();
  for (const group of groupByPattern([...used]).values()) {
    const newestFirst = group.toSorted(([a, usedA], [b, usedB]) => usedB - usedA || (a < b ? 1 : -1));
    for (const [name] of newestFirst.slice(0, count)) lasting.add(name);
  }
  return lasting;
}

type NameUse = readonly [name: string, lastUsed: number];

function groupByPattern(uses: readonly NameUse[]): Map<string, NameUse[]> {
  const groups = new Map<string, NameUse[]>();
  for (const use of uses) {
    const pattern = patternOf(use[0]);
    const group = groups.get(pattern) ?? [];
    groups.set(pattern, group);
    group.push(use);
  }
  return groups;
}
