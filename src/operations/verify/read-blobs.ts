import { availableParallelism } from 'node:os';
import type { CacheStore, Verdict } from '../../backend/cache-store.js';
import type { Finding } from '../../backend/finding.js';
import type { DocumentReader } from '../../backend/repository/repository.js';
import { prove } from '../../codec/proof.js';
import { CacheError, isSystemError } from '../../errors.js';
import type { Proof } from '../../graph/statement.js';
import type { Content } from '../../oci/content.js';
import { UNCOMPRESSED } from '../../oci/descriptor.js';
import { type Digest, isKnownAlgorithm, splitDigest } from '../../oci/digest.js';
import { parallel } from '../../bytes/parallel.js';
import { judge } from './judge.js';
import { effectOf, isContradicted, isLayer, isRequired, type Need, originsOf } from './need.js';
import { Report } from './report.js';
import { type Sample, sampleOf } from './sample.js';
import type { VerifyOptions } from './verify.js';
import { isOfContent, type Walk } from './walk.js';

/** The sample with no blob in it. */
const NOTHING: Sample = { share: 0 };

/** What came of reading blobs. */
export interface Read {
  readonly findings: Finding[];
  readonly verdicts: readonly Verdict[];
  /** What the bytes of those prove that were read, documents among them. */
  readonly proofs: ReadonlyMap<Digest, Proof>;
  readonly total: number;
  readonly blobs: number;
  readonly bytes: number;
}

/** What is known of the blobs before they are read. */
interface Choice {
  /** What is there, and how large it is, in bytes; everything is tried where that is not known. */
  readonly present?: ReadonlyMap<Digest, number> | undefined;
  /** Which blobs are read that are not doubtful; the sample of the options where that is not decided. */
  readonly isChosen?: ((digest: Digest) => boolean) | undefined;
}

/** A blob to be read, and what is said of it. */
interface Suspect {
  readonly digest: Digest;
  /** In bytes: of the file, or as it is said to be. */
  readonly size: number;
  /** The sizes that it may have. */
  readonly sizes: readonly number[];
  readonly need: Need | undefined;
  readonly content: Content;
  /** Whether something is known to be wrong that only the bytes can clear up. */
  readonly isDoubtful: boolean;
}

/**
 * Reads what the walk has not read, several blobs at once and the largest first. Where reading is only done on request,
 * that is what is doubtful, unless all or a sample is asked for.
 *
 * @param known - what was found before: blobs that are wrong already are not read
 */
export async function readBlobs(
  reader: DocumentReader & Pick<CacheStore, 'readsOnRequest'>,
  walk: Pick<Walk, 'needs' | 'sound'>,
  known: readonly Finding[],
  options: VerifyOptions,
  { present, isChosen }: Choice = {},
): Promise<Read> {
  const {
    deep = false,
    maxLayerSize: maxSize,
    windowMemory,
    concurrency = availableParallelism(),
    signal,
    onProgress,
  } = options;
  const report = new Report();
  const { name: where } = reader;
  const verdicts: Verdict[] = [];
  const proofs = new Map<Digest, Proof>();
  for (const [digest, size] of walk.sound) {
    proofs.set(digest, { size });
    verdicts.push({ digest, sound: true });
  }
  const gone = new Set(
    known.filter(({ kind }) => kind === 'missing' || kind === 'damaged').map(({ digest }) => digest),
  );
  const suspects = suspectsOf(reader, walk, present).filter(({ digest }) => !gone.has(digest));
  const isAll = deep || reader.readsOnRequest !== true;
  const blobs =
    isChosen === undefined
      ? chosenOf(suspects, isAll ? options.sample : (options.sample ?? NOTHING))
      : suspects.filter(({ digest, isDoubtful }) => isDoubtful || isChosen(digest));
  const bytes = blobs.reduce((sum, { size }) => sum + size, 0);
  onProgress?.({ type: 'start', blobs: blobs.length, bytes });
  const largestFirst = blobs.toSorted((a, b) => b.size - a.size);
  await parallel(largestFirst, concurrency, signal, async (suspect, inner) => {
    const { digest, sizes, need, content } = suspect;
    const onBytes = (count: number) => onProgress?.({ type: 'bytes', bytes: count });
    const layer = layerDepth(suspect, deep);
    const sha512 = need?.statements.some(({ descriptor }) =>
      descriptor.annotations?.[UNCOMPRESSED]?.startsWith('sha512:'),
    );
    try {
      proofs.set(
        digest,
        await prove(content, { digest, sizes, layer, maxSize, windowMemory, sha512, where, signal: inner, onBytes }),
      );
      verdicts.push({ digest, sound: true });
    } catch (error) {
      if (inner.aborted || !isOfContent(error)) throw error;
      // gc may free what nothing refers to while this goes on.
      if (need === undefined && error instanceof CacheError && error.wrong === 'missing') return;
      report.say(damage(suspect, error), need === undefined ? [] : originsOf(need));
      // A layer that is given up for its size may be what its digest says, and so may one that cannot be read.
      if (error instanceof CacheError && error.code === 'CORRUPT') verdicts.push({ digest, sound: false });
    }
  });
  for (const need of walk.needs.values()) judge(report, need, proofs.get(need.digest));
  const documents = [...walk.sound.values()].reduce((sum, size) => sum + size, 0);
  return {
    findings: report.findings(),
    verdicts,
    proofs,
    total: suspects.length + walk.sound.size,
    blobs: blobs.length + walk.sound.size,
    bytes: bytes + documents,
  };
}

function suspectsOf(
  reader: DocumentReader,
  { needs, sound }: Pick<Walk, 'needs' | 'sound'>,
  present: ReadonlyMap<Digest, number> | undefined,
): readonly Suspect[] {
  const needed = [...needs.values()]
    .filter((need) => present?.has(need.digest) ?? isRequired(need))
    .map((need): Suspect => {
      const { digest, statements } = need;
      const said = [...new Set(statements.map(({ descriptor }) => descriptor.size))].toSorted((a, b) => a - b);
      const size = present?.get(digest);
      const isDoubtful =
        isLayer(need) && (isContradicted(need) || (size !== undefined && said.some((of) => of !== size)));
      const content = reader.blob({ digest, size: size ?? said[0] ?? 0 });
      return {
        digest,
        size: size ?? said.at(-1) ?? 0,
        sizes: size === undefined ? said : [size],
        need,
        content,
        isDoubtful,
      };
    });
  const orphans = [...(present ?? [])]
    .filter(([digest]) => !needs.has(digest))
    .map(([digest, size]): Suspect => {
      const content = reader.blob({ digest, size });
      return { digest, size, sizes: [size], need: undefined, content, isDoubtful: false };
    });
  return [...needed, ...orphans].filter(({ digest }) => !sound.has(digest) && isKnownAlgorithm(splitDigest(digest)[0]));
}

/** A part of the blobs; those that are doubtful are always read. */
function chosenOf(suspects: readonly Suspect[], sample: Sample | undefined): readonly Suspect[] {
  if (sample === undefined) return suspects;
  const chosen = new Set(sampleOf(suspects, sample, (one) => one).map(({ digest }) => digest));
  return suspects.filter(({ digest, isDoubtful }) => isDoubtful || chosen.has(digest));
}

function layerDepth({ need, isDoubtful }: Suspect, deep: boolean): 'head' | 'whole' | undefined {
  if (need === undefined || !isLayer(need)) return undefined;
  return deep || isDoubtful ? 'whole' : 'head';
}

function damage({ digest, need, sizes, content, size }: Suspect, error: CacheError | NodeJS.ErrnoException) {
  const effect = effectOf(need);
  const about = { kind: 'damaged', digest, effect, file: content.path } as const;
  if (!(error instanceof CacheError)) {
    const isRefused = isSystemError(error, 'EACCES', 'EPERM');
    const hint = isRefused
      ? 'give this user the right to read the file, or run the command as its owner'
      : 'the disk or its filesystem fails to read this file: look at the system log';
    return {
      ...about,
      wrong: 'unreadable',
      message: `a blob cannot be read: ${error.message}`,
      found: error.code,
      hint,
    } as const;
  }
  const { message, expected, found, wrong = error.code === 'FAILED' ? 'limit' : 'format' } = error;
  if (wrong === 'missing') return { ...about, kind: 'missing', wrong, message } as const;
  const said = new Set(need?.statements.map(({ descriptor }) => descriptor.size));
  // A file of a size that no document states was cut short, or has bytes after its end.
  if (wrong === 'digest' && said.size > 0 && !said.has(size) && sizes.length === 1) {
    const sizesSaid = [...said].toSorted((a, b) => a - b).join(' or ');
    const words = { expected: `${sizesSaid} bytes`, found: `${size} bytes` };
    return { ...about, wrong: 'size', message: 'a blob has the wrong size', ...words } as const;
  }
  const hint = wrong === 'limit' ? 'verify it with a larger --max-layer-size' : undefined;
  return { ...about, effect: wrong === 'limit' ? 'none' : effect, wrong, message, expected, found, hint } as const;
}
