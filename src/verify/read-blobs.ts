import type { RepositoryReader } from '../backend/repository.js';
import type { CacheError } from '../errors.js';
import { exists } from '../layout/durable.js';
import { type Digest, isKnownAlgorithm, splitDigest } from '../oci/digest.js';
import { checkBlobs, type Suspect } from './check-blobs.js';
import type { Finding } from './finding.js';
import { sampleOf } from './sample.js';
import type { VerifyOptions } from './verify.js';
import type { Need, Walk } from './walk.js';

/** What came of reading blobs. */
export interface Read {
  readonly findings: Finding[];
  readonly verdicts: { readonly digest: Digest; readonly sound: boolean }[];
  readonly total: number;
  readonly blobs: number;
  readonly bytes: number;
}

/**
 * Reads what the walk has not read.
 *
 * @param present - what is known to be there, and how large it is, in bytes; everything is tried where that is not known
 */
export async function readBlobs(
  repository: RepositoryReader,
  where: string,
  walk: Walk,
  known: readonly Finding[],
  options: VerifyOptions,
  present?: ReadonlyMap<Digest, number>,
): Promise<Read> {
  const wrong = new Set(known.filter(({ severity }) => severity === 'corrupt').map(({ digest }) => digest));
  const suspects = suspectsOf(repository, walk, present).filter(({ descriptor }) => !wrong.has(descriptor.digest));
  const chosen = new Set(
    sampleOf(
      suspects.map(({ descriptor }) => descriptor),
      options.sample,
    ).map(({ digest }) => digest),
  );
  const blobs = suspects.filter(({ descriptor }) => chosen.has(descriptor.digest));
  const size = blobs.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  options.onProgress?.({ type: 'start', blobs: blobs.length, bytes: size });
  const findings: Finding[] = [];
  const verdicts: Read['verdicts'] = [];
  const check = {
    deep: options.deep === true,
    maxLayerSize: options.maxLayerSize,
    where,
    concurrency: options.concurrency,
    signal: options.signal,
    onBytes: (bytes: number) => options.onProgress?.({ type: 'bytes', bytes }),
  };
  await checkBlobs(blobs, check, async (blob, error) => {
    // An orphan may be collected while this goes on.
    if (error !== undefined && !walk.needs.has(blob.descriptor.digest) && (await isGone(blob))) return;
    const { digest } = blob.descriptor;
    const need = walk.needs.get(digest);
    if (error !== undefined) findings.push(damage(blob, need, error));
    // A layer that is given up for its size may be what its digest says.
    if (error === undefined || error.code === 'CORRUPT') verdicts.push({ digest, sound: error === undefined });
  });
  for (const digest of walk.sound) verdicts.push({ digest, sound: true });
  const documents = [...walk.sound].reduce((sum, digest) => sum + (walk.needs.get(digest)?.descriptor.size ?? 0), 0);
  const total = suspects.length + walk.sound.size;
  return { findings, verdicts, total, blobs: blobs.length + walk.sound.size, bytes: size + documents };
}

function suspectsOf(
  repository: RepositoryReader,
  walk: Walk,
  present: ReadonlyMap<Digest, number> | undefined,
): readonly Suspect[] {
  const needed = [...walk.needs.values()]
    .filter(({ descriptor, required }) => present?.has(descriptor.digest) ?? required)
    .map(({ descriptor, diffID, isLayer }) => ({ descriptor, diffID, isLayer, content: repository.blob(descriptor) }));
  const orphans = [...(present ?? [])]
    .filter(([digest]) => !walk.needs.has(digest))
    .map(([digest, size]) => {
      const descriptor = { mediaType: '', digest, size };
      return { descriptor, diffID: undefined, isLayer: false, content: repository.blob(descriptor) };
    });
  return [...needed, ...orphans].filter(
    ({ descriptor }) => !walk.sound.has(descriptor.digest) && isKnownAlgorithm(splitDigest(descriptor.digest)[0]),
  );
}

function damage({ descriptor, content }: Suspect, need: Need | undefined, error: CacheError): Finding {
  const { digest } = descriptor;
  const tags = [...(need?.tags ?? [])];
  const { message, wrong, expected, found } = error;
  return { severity: 'corrupt', kind: 'damaged', message, tags, digest, file: content.path, wrong, expected, found };
}

async function isGone({ content }: Suspect): Promise<boolean> {
  return content.path !== undefined && !(await exists(content.path));
}
