import { posix } from 'node:path';
import { type Digest, sha256 } from '../../oci/digest.js';
import { goJson } from '../../oci/json.js';

// The digests of records, made as BuildKit makes them. A guess at a step whose digest is that of a record is certain.

/** The output of a step that a record stands for; CONTENT is for the content of an input (solver/cachemanager.go, rootKey). */
const FIRST_OUTPUT = 0;
const CONTENT = -1;

function rootKey(digest: string, output: number): Digest {
  return sha256(`${digest}@${output}`);
}

/** The record of the content of one source: of the sum of a file or a tree (solver/llbsolver/ops/opsutils/contenthash.go). */
export function contentRecord(sum: string): Digest {
  return rootKey(sha256(sum), CONTENT);
}

/** The record of an image, by the chain ID of its layers (source/containerimage/pull.go, ops/source.go). */
export function imageRecord(chainID: string): Digest {
  return rootKey(sha256(`buildkit.source.v0:${chainID}`), FIRST_OUTPUT);
}

/** The numbers of an action: of the input, of the second input, of the output; -1 for none. */
type Indexes = readonly [input: number, second: number, output: number];

/** The record of a file operation (solver/llbsolver/ops/file.go, CacheMap). Usual indexes are left out there. */
function fileRecord(actions: readonly object[], indexes: readonly Indexes[]): Digest {
  const last = indexes.length - 1;
  const isUsual = indexes.every(
    ([input, second, output], at) =>
      input === (at === 0 ? 0 : last + at) && (second === -1 || second === 1) && output === (at === last ? 0 : -1),
  );
  const operation = {
    Type: 'buildkit.file.v0',
    Actions: actions.map((action) => goJson(action).toString('base64')),
    ...(isUsual ? {} : { indexes }),
  };
  return rootKey(sha256(goJson(operation)), FIRST_OUTPUT);
}

/**
 * The records that a WORKDIR can have: on a step, or on nothing.
 *
 * @param timestamp - SOURCE_DATE_EPOCH in seconds; undefined where it was not set
 */
export function workdirRecords(path: string, timestamp: number | undefined): Digest[] {
  const action = { path, mode: 0o755, makeParents: true, timestamp: timestamp === undefined ? -1 : timestamp * 1e9 };
  return [fileRecord([action], [[0, -1, 0]]), fileRecord([action], [[-1, -1, 0]])];
}

/** A COPY or an ADD of one source. */
export interface CopyGuess {
  /** The last part of the path of the source, which is all that a record knows of it. */
  readonly source: string;
  readonly target: string;
  readonly isAdd?: boolean;
  readonly owner?: readonly [uid: number, gid: number] | undefined;
  readonly mode?: number | undefined;
  /** COPY <<NAME: a file that stands in the Dockerfile. */
  readonly isHeredoc?: boolean;
}

function copyAction({ source, target, isAdd = false, owner, mode = -1, isHeredoc = false }: CopyGuess): object {
  const user = (id: number) => ({ User: { byId: id === 0 ? undefined : id } });
  return {
    src: posix.basename(source) || '/',
    dest: target,
    ...(owner === undefined ? {} : { owner: { user: user(owner[0]), group: user(owner[1]) } }),
    mode,
    ...(isHeredoc ? {} : { followSymlink: true, dirCopyContents: true }),
    ...(isAdd ? { attemptUnpackDockerCompatibility: true } : {}),
    createDestPath: true,
    ...(isHeredoc ? {} : { allowWildcard: true, allowEmptyWildcard: true }),
    timestamp: -1,
  };
}

/** The records that a COPY can have: from the step that it stands on, from another step, on nothing (or with --link). */
export function copyRecords(guess: CopyGuess): Digest[] {
  const action = [copyAction(guess)];
  const forms: readonly Indexes[] =
    guess.isHeredoc === true
      ? [
          [0, 1, 0],
          [-1, 0, 0],
        ]
      : [
          [0, 0, 0],
          [0, 1, 0],
          [-1, 0, 0],
        ];
  return forms.map((indexes) => fileRecord(action, [indexes]));
}

/** The records of what joins the layers of a COPY --link to its base; BuildKit 0.13 wrote the first input out. */
export const LINK_RECORDS: readonly Digest[] = [{}, { input: 0 }].map((first) =>
  rootKey(sha256(goJson({ Type: 'buildkit.merge.v0', Merge: { inputs: [first, { input: 1 }] } })), FIRST_OUTPUT),
);
