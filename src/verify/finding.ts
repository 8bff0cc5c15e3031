import type { Wrong } from '../errors.js';
import type { Digest } from '../oci/digest.js';

/** What a finding is about. */
export type FindingKind =
  /** oci-layout or index.json. */
  | 'layout'
  /** A manifest or config that cannot be read, or contradicts what names it. */
  | 'document'
  /** A cacheconfig that BuildKit would refuse, or drop results of. */
  | 'graph'
  /** A cache with several ends, of which BuildKit loses links on import. */
  | 'ends'
  /** A manifest or config over the limit of BuildKit's import. */
  | 'oversize'
  /** A blob that is not there. */
  | 'missing'
  /** A blob whose size, digest or diffID is wrong, or something else in its place. */
  | 'damaged'
  /** A blob that is not there and need not be. */
  | 'sparse'
  /** What nothing refers to, and gc frees. */
  | 'unused'
  /** What has no name, or is of no kind that is known, and does no harm. */
  | 'unknown';

/** One thing that verify has to say. */
export interface Finding {
  /** `corrupt` is wrong; a `note` is legal. */
  readonly severity: 'corrupt' | 'note';
  readonly kind: FindingKind;
  readonly message: string;
  /** The tags whose caches it is in. */
  readonly tags: readonly string[];
  readonly digest?: Digest | undefined;
  readonly file?: string | undefined;
  /** What was compared, where something was. */
  readonly wrong?: Wrong | undefined;
  readonly expected?: string | undefined;
  readonly found?: string | undefined;
  /** The command that does something about it. */
  readonly repair?: string | undefined;
  /** What to do where there is no such command. */
  readonly hint?: string | undefined;
}

/** A word as a shell takes it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
