import type { Wrong } from '../errors.js';
import type { Digest } from '../oci/digest.js';

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

/** What can be done about a finding. */
export interface Remedy {
  /** The command that does something about it. */
  readonly repair?: string | undefined;
  /** What to do where there is no such command. */
  readonly hint?: string | undefined;
}

/** One thing that verify has to say. */
export interface Finding extends Remedy {
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
}

/** A finding before it is known which tags it concerns; `corrupt` and without effect unless it says something else. */
export type Remark = Omit<Finding, 'severity' | 'effect' | 'tags'> & Partial<Pick<Finding, 'severity' | 'effect'>>;

/** A word as a shell takes it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
