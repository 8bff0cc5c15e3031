import type { Wrong } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';

/** What a finding is about. */
export type FindingKind =
  /** oci-layout or index.json. */
  | 'layout'
  /** A manifest or config that cannot be read, or says something wrong of what it names. */
  | 'document'
  /** A cacheconfig that BuildKit would refuse, or drop results of. */
  | 'graph'
  /** A cache with several ends, of which BuildKit loses links on import. */
  | 'ends'
  /** A manifest or config over the limit of BuildKit's import. */
  | 'oversize'
  /** A blob that is not there. */
  | 'missing'
  /** A blob whose bytes are wrong, or something else in its place. */
  | 'damaged'
  /** A blob that is not there and need not be. */
  | 'sparse'
  /** What nothing refers to, and gc frees. */
  | 'unused'
  /** What has no name, or is no cache, and does no harm. */
  | 'unknown';

/**
 * What BuildKit does with the thing that a finding is about, the worst first. Most of it was seen with BuildKit 0.25; the
 * causes are in docs/verify-and-repair.md.
 */
export const EFFECTS = [
  'daemon-exits',
  'build-fails',
  'import-refused',
  'results-vanish',
  'steps-run',
  'none',
] as const;
export type Effect = (typeof EFFECTS)[number];

/** The same in words. */
export const EFFECT_WORDS: Readonly<Record<Effect, string>> = {
  'daemon-exits': 'buildkitd exits when it imports this, and every build on it fails',
  'build-fails': 'a build that needs this fails',
  'import-refused': 'BuildKit imports nothing from this cache, and builds go on without it',
  'results-vanish': 'BuildKit leaves these results out, and their steps run again',
  'steps-run': 'steps run again',
  none: 'nothing',
};

/** One thing that verify has to say. */
export interface Finding {
  /** `corrupt` is wrong; a `note` is legal, or makes no difference to BuildKit. */
  readonly severity: 'corrupt' | 'note';
  readonly kind: FindingKind;
  readonly effect: Effect;
  readonly message: string;
  /** The tags whose caches it is in. */
  readonly tags: readonly string[];
  readonly wrong?: Wrong | undefined;
  readonly digest?: Digest | undefined;
  readonly file?: string | undefined;
  readonly expected?: string | undefined;
  readonly found?: string | undefined;
  /** The command that does something about it. */
  readonly repair?: string | undefined;
  /** What to do where there is no such command. */
  readonly hint?: string | undefined;
}

/** The worst first; equal folders have equal lists, whatever the order of their entries. */
export function sortedFindings(findings: readonly Finding[]): Finding[] {
  const rank = ({ severity, effect }: Finding) =>
    (severity === 'corrupt' ? 0 : EFFECTS.length) + EFFECTS.indexOf(effect);
  const text = ({ kind, message, digest, file, expected, found, tags }: Finding) =>
    [kind, message, digest, file, expected, found, ...tags].join('\n');
  return findings
    .map((finding) => ({ finding, rank: rank(finding), text: text(finding) }))
    .toSorted((a, b) => a.rank - b.rank || (a.text < b.text ? -1 : Number(a.text > b.text)))
    .map(({ finding }) => finding);
}

/** A word as a shell takes it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
