import { checkCall } from '../../calls.js';
import type { RepositoryEntry, RepositoryReader } from '../../backend/repository/repository.js';
import { layoutReader } from '../../backend/local/layout-repository.js';
import { readImport } from '../../backend/option-string.js';
import { locate, openRepository, openSource } from '../../backend/backends.js';
import type { Location } from '../../backend/backend.js';
import { formatOptions } from '../../buildkit/options.js';
import { readIndex } from '../../layout/index/index-read.js';
import { entryKey, type LayoutIndex } from '../../layout/index/index-json.js';
import { type Layout, openLayout } from '../../layout/layout.js';
import { Session, type SessionOptions } from '../../session.js';
import { abortable, CacheError } from '../../errors.js';
import { type Finding, quoted, sortedFindings } from './finding.js';
import { FolderCheck } from './folder.js';
import { type Read, readBlobs } from './read-blobs.js';
import type { Sample } from './sample.js';
import { type Restore, Walk } from './walk.js';

export interface VerifyOptions extends SessionOptions {
  /** Unpack every layer, and check that its tar has the diffID that is said of it. */
  readonly deep?: boolean | undefined;
  /** Read a part of the blobs only. All are looked for, and their sizes checked. */
  readonly sample?: Sample | undefined;
  readonly maxLayerSize?: number | undefined;
  /** What the windows of all zstd layers that are read at once may have together, in bytes; 1 GiB by default. */
  readonly windowMemory?: number | undefined;
  readonly concurrency?: number | undefined;
  readonly onProgress?: ((event: VerifyProgress) => void) | undefined;
}

/** Sizes are in bytes. */
export type VerifyProgress =
  | { readonly type: 'start'; readonly blobs: number; readonly bytes: number }
  | { readonly type: 'bytes'; readonly bytes: number };

export interface VerifyResult {
  readonly target: string;
  /** Whether everything imports into BuildKit, as far as it was looked at. */
  readonly sound: boolean;
  /** All of them, the worst first. */
  readonly findings: readonly Finding[];
  readonly tags: number;
  /** Blobs that are there or should be, and those of them that were read. */
  readonly blobs: number;
  readonly read: number;
  readonly bytesRead: number;
}

/** A folder, looked at from end to end. */
export interface Examination {
  readonly entries: readonly RepositoryEntry[];
  readonly walk: Walk;
  readonly read: Read;
  readonly findings: readonly Finding[];
}

/** What may be known of a folder beyond what can be read in it, so that what is below that is looked at, too. */
export interface Aid {
  /** What to take where index.json cannot be read. */
  readonly index?: LayoutIndex | undefined;
  readonly restore?: Restore | undefined;
}

/**
 * Looks at everything in a folder.
 *
 * @throws CacheError NOT_FOUND when there is no cache at all, BUSY
 */
export async function examineFolder(layout: Layout, options: VerifyOptions, aid: Aid = {}): Promise<Examination> {
  const check = new FolderCheck(layout);
  const entries = await check.entries(aid.index, options.signal);
  const repository = layoutReader(layout);
  const walk = await walkAll(repository, entries, { restore: aid.restore, signal: options.signal });
  await check.blobs(walk);
  const read = await readBlobs(repository, layout.root, walk, check.findings, options, check.present);
  await check.remember(read.verdicts);
  const findings = [...check.findings, ...walk.findings, ...read.findings];
  if (aid.index !== undefined) return { entries, walk, read, findings };
  return { entries, walk, read, findings: await stillThere(layout, entries, findings, options.signal) };
}

/** Leaves out what was found of tags alone that somebody has dropped or replaced in the meantime. */
async function stillThere(
  layout: Layout,
  entries: readonly RepositoryEntry[],
  findings: readonly Finding[],
  signal: AbortSignal | undefined,
): Promise<readonly Finding[]> {
  if (!findings.some(({ severity, tags }) => severity === 'corrupt' && tags.length > 0)) return findings;
  const now = new Set((await readIndex(layout, signal)).manifests.map(entryKey));
  const gone = entries.filter(({ descriptor }) => !now.has(entryKey(descriptor)));
  const names = new Set(gone.map(({ tag, descriptor }) => tag ?? descriptor.digest));
  return findings.filter(({ tags }) => tags.length === 0 || tags.some((tag) => !names.has(tag)));
}

/**
 * Checks a folder of caches: its layout and index, every manifest and config, and every blob, whether something refers
 * to it or not, since BuildKit trusts any blob that is there. All that is wrong is found, not the first thing only.
 *
 * Blobs that are found to be damaged are remembered in the folder, where that can be written to, so that the next
 * writer who needs them replaces them.
 *
 * @throws CacheError NOT_FOUND when there is no such folder, BUSY
 */
export async function verifyFolder(folder: string, options: VerifyOptions = {}): Promise<VerifyResult> {
  checkCall('verifyFolder', { folder, options });
  return abortable(options.signal, async () => {
    await using session = new Session(options);
    await using layout = await openLayout(folder, session.layout);
    const { entries, read, findings } = await examineFolder(layout, options);
    return result(folder, entries, findings, read, (finding) => folderCommand(folder, finding));
  });
}

/**
 * Checks one cache, wherever it is.
 *
 * @param text - an import string
 * @throws CacheError USAGE, NOT_FOUND
 */
export async function verifyCache(text: string, options: VerifyOptions = {}): Promise<VerifyResult> {
  checkCall('verifyCache', { text, options });
  const parsed = await readImport(text, options.onNote);
  return abortable(options.signal, async () => {
    await using session = new Session(options);
    return await verifyAt(await locate(parsed, 'import', session), formatOptions(parsed), options, session);
  });
}

async function verifyAt(at: Location, name: string, options: VerifyOptions, session: Session): Promise<VerifyResult> {
  const source = await openSource(at, session);
  const descriptor = await source.resolve(options.signal);
  const repository = await openRepository(at, session);
  const entries = [{ tag: at.selection, descriptor }];
  const walk = await walkAll(repository, entries, { signal: options.signal });
  if (walk.caches === 0) refuseOther(source.name, walk.findings);
  const read = await readBlobs(repository, source.name, walk, [], options);
  const findings = [...walk.findings, ...read.findings];
  if (at.path !== undefined) return result(name, entries, findings, read, (finding) => folderCommand(at.name, finding));
  return result(
    name,
    entries,
    findings.map((finding) => inRegistry(name, finding)),
    read,
    () => undefined,
  );
}

const JOIN_HINT =
  'copy it into a folder, run "bkcache repair" on that folder, and copy it back: repair joins the ends under one record';

/**
 * A tag of something else is no cache that could be sound.
 *
 * @throws CacheError NOT_FOUND
 */
function refuseOther(name: string, findings: readonly Finding[]): void {
  if (findings.some(({ severity }) => severity === 'corrupt')) return;
  const what = findings.find(({ kind }) => kind === 'unknown');
  throw new CacheError('NOT_FOUND', `there is no build cache at ${name}: ${what?.message ?? 'it holds nothing'}`, {
    hint: 'look at what is there with "bkcache list", or export a cache to it again',
    side: 'import',
  });
}

/** What a registry has not is simply sent; nothing that is sent replaces what it has. */
function inRegistry(name: string, finding: Finding): Finding {
  if (finding.kind === 'ends') return { ...finding, hint: JOIN_HINT };
  if (finding.kind === 'missing') {
    return { ...finding, repair: `bkcache copy --import-cache OPTS --export-cache ${quoted(name)}` };
  }
  if (finding.kind !== 'damaged') return finding;
  return {
    ...finding,
    hint: 'a registry keeps what it has under a digest: have the blob deleted there and copy the cache again, or copy a whole one to another registry',
  };
}

async function walkAll(
  repository: RepositoryReader,
  entries: readonly RepositoryEntry[],
  options: { readonly restore?: Restore | undefined; readonly signal: AbortSignal | undefined },
): Promise<Walk> {
  const walk = new Walk(repository, options);
  await walk.entries(entries);
  return walk;
}

function folderCommand(folder: string, { severity, kind, wrong }: Finding): string | undefined {
  if (kind === 'oversize') return `bkcache prune --fit-import-limit ${quoted(folder)}`;
  if (kind === 'ends') return `bkcache repair ${quoted(folder)}`;
  if (kind === 'unused') return `bkcache gc ${quoted(folder)}`;
  if (wrong === 'padding') return `bkcache repair --deep ${quoted(folder)}`;
  if (severity === 'note') return undefined;
  const isProven = wrong === 'diffID' || wrong === 'toc';
  if (kind === 'document' && wrong !== 'format' && wrong !== 'limit') {
    return `bkcache repair ${isProven ? '--deep ' : ''}${quoted(folder)}`;
  }
  return `bkcache repair --from OPTS ${quoted(folder)}`;
}

function result(
  target: string,
  entries: readonly RepositoryEntry[],
  findings: readonly Finding[],
  { total, blobs, bytes }: Read,
  command: (finding: Finding) => string | undefined,
): VerifyResult {
  const sorted = sortedFindings(findings).map((finding) => ({
    ...finding,
    repair: finding.repair ?? command(finding),
  }));
  return {
    target,
    sound: sorted.every(({ severity }) => severity === 'note'),
    findings: sorted,
    tags: entries.length,
    blobs: total,
    read: blobs,
    bytesRead: bytes,
  };
}
