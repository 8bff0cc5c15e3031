import type { Difference } from './compare-trees.js';

/** Why a step of the second build missed by itself, and did not only follow another step. */
export type CauseKind =
  | Exclude<Difference, 'mtime'>
  /** It stands on another image. */
  | 'baseImage'
  /** The content of what a RUN mounts, which caches do not hold. */
  | 'mount'
  /** Another key of content, and no layer that shows why. */
  | 'unknownContent'
  /** Another key of content, and equal files. */
  | 'unseen'
  /** Its own definition, of which no more is known. */
  | 'definition'
  | 'otherInstruction'
  | 'sourceDateEpoch'
  | 'workdir'
  | 'options'
  | 'inserted'
  | 'deleted'
  | 'moved'
  | 'new'
  /** Its key is there and its result is not. */
  | 'noResult'
  /** Its result is there and a layer of it is not in the manifest. */
  | 'layerMissing';

/** What a definition that nobody can name must be, by the other RUNs that changed. */
export type DefinitionHint = 'variable' | 'command' | 'platform' | 'asBefore' | 'last';

export interface FoundCause {
  /** The record in the second cache. */
  readonly record: number;
  readonly kind: CauseKind;
  /** The record in the first cache that it is compared with. */
  readonly other?: number | undefined;
  /** Paths, or what changed. */
  readonly details: readonly string[];
  /** How many paths there are in all, for differences of files. */
  readonly of?: number | undefined;
  /** The mode before and after, in octal digits, where all modes changed alike. */
  readonly modes?: readonly [before: string, after: string] | undefined;
  readonly hint?: DefinitionHint | undefined;
}
