import type { Wrong } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { topOf } from '../../oci/document.js';
import type { Fate } from './cut.js';

/** Something that repair did, or would do. */
export type RepairAction =
  /** An intact copy of a blob was fetched. */
  | { readonly type: 'fetched'; readonly digest: Digest; readonly from: string }
  /** A damaged file was moved to quarantine: the next build that needs the blob writes it again. */
  | { readonly type: 'set-aside'; readonly digest: Digest }
  /** A cache lost the results whose blobs could not be fetched. */
  | {
      readonly type: 'cut';
      readonly tag: string | undefined;
      readonly from: Digest;
      readonly to: Digest;
      /** How many records had results, and how many have some now. */
      readonly resultsBefore: number;
      readonly results: number;
    }
  /** The manifest of a cache said something wrong of its layers, and says now what their bytes prove. */
  | {
      readonly type: 'rewritten';
      readonly tag: string | undefined;
      readonly from: Digest;
      readonly to: Digest;
      readonly wrong: readonly Wrong[];
    }
  /** A cache has one end now, which joins those that it had. */
  | {
      readonly type: 'joined';
      readonly tag: string | undefined;
      readonly from: Digest;
      readonly to: Digest;
      readonly ends: number;
    }
  /** An entry of index.json went, since nothing of it can be imported. */
  | { readonly type: 'dropped'; readonly tag: string | undefined; readonly digest: Digest; readonly reason: string }
  /** A tag named a manifest that was never there, and names now the one of a cache that no tag named. */
  | { readonly type: 'renamed'; readonly tag: string | undefined; readonly from: Digest; readonly to: Digest }
  /** An entry of index.json said something wrong of its manifest. */
  | { readonly type: 'corrected'; readonly tag: string | undefined; readonly digest: Digest }
  /** index.json was written again, with the entries that could be read. */
  | { readonly type: 'rebuilt'; readonly entries: number; readonly nameless: readonly Digest[] }
  /** oci-layout was written again. */
  | { readonly type: 'marked' };

/** What is done to an entry of index.json. */
export function actionOf(
  fate: Exclude<Fate, { kind: 'stays' }>,
  tag: string | undefined,
  { digest }: Descriptor,
): RepairAction {
  switch (fate.kind) {
    case 'goes':
      return { type: 'dropped', tag, digest, reason: fate.reason };
    case 'corrected':
      return { type: 'corrected', tag, digest };
    case 'renamed':
      return { type: 'renamed', tag, from: digest, to: fate.descriptor.digest };
    case 'rewritten':
      return { type: 'rewritten', tag, from: digest, to: topOf(fate.documents).descriptor.digest, wrong: fate.wrong };
    case 'joined':
      return { type: 'joined', tag, from: digest, to: topOf(fate.documents).descriptor.digest, ends: fate.ends };
    case 'cut':
      return {
        type: 'cut',
        tag,
        from: digest,
        to: topOf(fate.documents).descriptor.digest,
        resultsBefore: fate.resultsBefore,
        results: fate.results,
      };
  }
}
