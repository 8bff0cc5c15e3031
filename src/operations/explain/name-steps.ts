import { posix } from 'node:path';
import type { Digest } from '../../oci/digest.js';
import { type CopyGuess, contentRecord, copyRecords, LINK_RECORDS, workdirRecords } from './op-digests.js';
import type { LayerTree, SumAs, TreeEntry } from './layer-tree.js';

/** What is proven of a step: the digest of its record was made again from a guess. */
export type StepFacts =
  | { readonly kind: 'COPY' | 'ADD'; readonly text: string; readonly guess: CopyGuess }
  | { readonly kind: 'WORKDIR'; readonly text: string; readonly path: string; readonly timestamp: number | undefined }
  | { readonly kind: 'LINK'; readonly text: string };

/** The tree that the key of an input's content was made of. */
export interface ContentPlace {
  readonly blob: Digest;
  /** The path of the file or folder in the layer. */
  readonly path: string;
  readonly as: SumAs;
}

/** What the layers of a cache prove of its records. */
export interface Names {
  readonly steps: Map<string, StepFacts>;
  readonly contents: Map<string, ContentPlace>;
}

/** Paths deeper than this are no targets of guesses: a COPY makes its target, and what is below comes from the source. */
const DEEPEST = 3;
/** Modes of folders that are tried for the top of a copied tree. */
export const FOLDER_MODES = [0o755, 0o775, 0o700, 0o750, 0o770, 0o777, 0o2755, 0o2775, 0o1777, 0o555];

/** Names for records that every cache can have. */
export function newNames(): Names {
  return {
    steps: new Map(LINK_RECORDS.map((digest) => [digest, { kind: 'LINK', text: 'LINK' }])),
    contents: new Map(),
  };
}

/**
 * Finds what a layer proves: guesses at steps are hashed as BuildKit does, and a guess is kept where a record has its digest.
 * What no record has is dropped at once.
 *
 * @param wanted - the digests of all records
 */
export function nameByLayer(names: Names, blob: Digest, tree: LayerTree, wanted: ReadonlySet<string>): void {
  for (const { path, sum, as } of tree.sums(FOLDER_MODES)) {
    const digest = contentRecord(sum);
    if (wanted.has(digest) && !names.contents.has(digest)) names.contents.set(digest, { blob, path, as });
  }
  for (const { digest, facts } of guesses(tree)) {
    if (wanted.has(digest) && !names.steps.has(digest)) names.steps.set(digest, facts);
  }
}

function* guesses(tree: LayerTree): Generator<{ readonly digest: Digest; readonly facts: StepFacts }> {
  const isFoldersAlone = [...tree.entries.values()].every(({ type }) => type === 'directory');
  for (const [path, entry] of tree.entries) {
    if (path.split('/').length - 1 > DEEPEST) continue;
    if (isFoldersAlone) {
      const seconds = entry.modified === undefined ? undefined : Date.parse(entry.modified) / 1000;
      for (const timestamp of new Set([undefined, seconds])) {
        const facts = { kind: 'WORKDIR', text: `WORKDIR ${path}`, path, timestamp } as const;
        for (const digest of workdirRecords(path, timestamp)) yield { digest, facts };
      }
    }
    for (const guess of copyGuesses(path, entry)) {
      const facts = { kind: guess.isAdd === true ? 'ADD' : 'COPY', text: copyText(guess), guess } as const;
      for (const digest of copyRecords(guess)) yield { digest, facts };
    }
  }
}

/** The COPYs and ADDs of one source that can have made a path. */
function* copyGuesses(path: string, { uid, gid, mode }: TreeEntry): Generator<CopyGuess> {
  const name = posix.basename(path);
  const folder = posix.dirname(path);
  const forms = [
    { source: name, target: path },
    { source: name, target: folder === '/' ? '/' : `${folder}/` },
    { source: '/', target: `${path}/` },
    { source: '/', target: path },
    { source: name, target: `${path}/` },
  ];
  for (const isAdd of [false, true]) {
    for (const owner of [undefined, [uid, gid] as const]) {
      for (const chmod of [undefined, mode]) {
        for (const form of forms) yield { ...form, isAdd, owner, mode: chmod };
      }
    }
  }
  yield { source: name, target: path, isHeredoc: true };
}

function copyText({ source, target, isAdd, owner, mode, isHeredoc }: CopyGuess): string {
  const words = [
    isAdd === true ? 'ADD' : 'COPY',
    ...(owner === undefined ? [] : [`--chown=${owner.join(':')}`]),
    ...(mode === undefined ? [] : [`--chmod=${mode.toString(8)}`]),
    isHeredoc === true ? `<<${source}` : source === '/' ? '.' : source,
    target,
  ];
  return words.join(' ');
}
