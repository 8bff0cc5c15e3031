import { globTest } from './glob.js';

/** Which tags stay. */
export interface TagPolicy {
  /** Tags that were not used for longer than this go, in milliseconds. */
  readonly maxAge?: number | undefined;
  /** Of tags whose names differ in numbers only, so many stay, the last used ones, however old they are. */
  readonly keepLast?: number | undefined;
  /** Patterns of names that go. */
  readonly untag?: readonly string[] | undefined;
  /** Patterns of names that stay, whatever else is said, as they are. */
  readonly keep?: readonly string[] | undefined;
}

export interface TagUse {
  readonly tag: string;
  /** In milliseconds since 1970. */
  readonly lastUsed: number;
}

/** Why a tag goes. */
export type DropReason = 'untag' | 'max-age' | 'keep-last';

/** Whether a tag is protected by one of the patterns to keep. */
export function protection({ keep = [] }: TagPolicy): (tag: string) => boolean {
  const tests = keep.map(globTest);
  return (tag) => tests.some((test) => test(tag));
}

/**
 * The tags that a policy drops. With both an age and a number to keep, a tag goes when it is neither young nor among
 * the last.
 *
 * @param now - in milliseconds since 1970
 */
export function dropped(tags: readonly TagUse[], policy: TagPolicy, now: number): ReadonlyMap<string, DropReason> {
  const { maxAge, keepLast, untag = [] } = policy;
  const isProtected = protection(policy);
  const isUntagged = untag.map(globTest);
  const lasting = keepLast === undefined ? undefined : lastOfEach(tags, keepLast);
  const reasons = new Map<string, DropReason>();
  for (const { tag, lastUsed } of tags) {
    if (isProtected(tag)) continue;
    if (isUntagged.some((test) => test(tag))) reasons.set(tag, 'untag');
    else if (maxAge !== undefined) {
      if (now - lastUsed > maxAge && lasting?.has(tag) !== true) reasons.set(tag, 'max-age');
    } else if (lasting !== undefined && !lasting.has(tag)) reasons.set(tag, 'keep-last');
  }
  return reasons;
}

/** A name without what counts: numbers and commit hashes. `pr-17` and `pr-18` are of one pattern, `pr-*`. */
export function patternOf(tag: string): string {
  return tag.replaceAll(/(?=[a-f]*\d)[0-9a-f]{7,}|\d+/gi, '*');
}

function lastOfEach(tags: readonly TagUse[], count: number): ReadonlySet<string> {
  const lasting = new Set<string>();
  for (const group of groupByPattern(tags).values()) {
    const newestFirst = group.toSorted((a, b) => b.lastUsed - a.lastUsed || (a.tag < b.tag ? 1 : -1));
    for (const { tag } of newestFirst.slice(0, count)) lasting.add(tag);
  }
  return lasting;
}

function groupByPattern(tags: readonly TagUse[]): Map<string, TagUse[]> {
  const groups = new Map<string, TagUse[]>();
  for (const use of tags) {
    const group = groups.get(patternOf(use.tag)) ?? [];
    groups.set(patternOf(use.tag), group);
    group.push(use);
  }
  return groups;
}
