import { checkCall } from '../../calls.js';
import type { CacheStore, RequestCounts, StoreEntry } from '../../backend/cache-store.js';
import type { Finding } from '../../backend/finding.js';
import type { Location } from '../../backend/backend.js';
import { locate, openSource, openStore } from '../../backend/backends.js';
import { readImport, readWholePlace, shownPlace } from '../../backend/option-string.js';
import { shownOptions } from '../../buildkit/options.js';
import { abortable, CacheError } from '../../errors.js';
import { Session, type SessionOptions } from '../../session.js';
import type { WorkOptions } from '../work-options.js';
import { examineStore } from './examine.js';
import { lookForBlobs } from './presence.js';
import { sortedFindings } from './sorted-findings.js';
import { type Read, readBlobs } from './read-blobs.js';
import type { Sample } from './sample.js';
import { Walk } from './walk.js';

export interface VerifyOptions extends SessionOptions, WorkOptions {
  /** Decompress every layer, and check that its tar has the diffID that is said of it. */
  readonly deep?: boolean | undefined;
  /** Read a part of the blobs only. All are looked for, and their sizes checked. */
  readonly sample?: Sample | undefined;
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
  /** Of a bucket: the requests that it took. */
  readonly requests?: RequestCounts;
}

/**
 * Checks a folder of caches: its layout and index, every manifest and config, and every blob, whether something refers
 * to it or not, since BuildKit trusts any blob that is there. All that is wrong is found, not the first thing only.
 *
 * Blobs that are found to be damaged are remembered in the folder, where that can be written to, so that the next
 * writer who needs them replaces them.
 *
 * @param folder - or an import string: then all that is under the names of that place, whatever the string selects there
 * @throws CacheError USAGE for an invalid string, NOT_FOUND for a missing place, BUSY; UNREACHABLE or DENIED for
 *   a place that cannot be asked
 */
export async function verifyFolder(folder: string, options: VerifyOptions = {}): Promise<VerifyResult> {
  checkCall('verifyFolder', { folder, options });
  const place = await readWholePlace(folder, options.onNote);
  return abortable(options.signal, async () => {
    await using session = new Session(options);
    await using store = await openStore(await locate(place, 'import', session), session);
    return await verifyStore(store, shownPlace(folder, place), options);
  });
}

/**
 * Checks an open place.
 *
 * @param target - what the user calls it
 */
export async function verifyStore(store: CacheStore, target: string, options: VerifyOptions): Promise<VerifyResult> {
  const { entries, read, findings } = await examineStore(store, options);
  return result(store, target, entries.length, findings, read);
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
    return await verifyAt(await locate(parsed, 'import', session), shownOptions(parsed), options, session);
  });
}

async function verifyAt(at: Location, target: string, options: VerifyOptions, session: Session): Promise<VerifyResult> {
  const { signal } = options;
  await using store = await openStore(at, session);
  const entries = (await store.selected?.(signal)) ?? [await resolvedEntry(at, session, signal)];
  const walk = new Walk(store, { signal });
  await walk.entries(entries);
  if (walk.caches === 0) refuseOther(at.name, walk.findings);
  const presence = store.look && (await lookForBlobs(store, [], walk.needs, signal));
  const known = presence?.findings ?? [];
  const read = await readBlobs(store, walk, known, options, { present: presence?.present });
  return result(store, target, entries.length, [...known, ...walk.findings, ...read.findings], read);
}

/** The entry that an import takes. */
async function resolvedEntry(at: Location, session: Session, signal: AbortSignal | undefined): Promise<StoreEntry> {
  const source = await openSource(at, session);
  return { names: [at.selection], descriptor: await source.resolve(signal) };
}

/**
 * A tag of something else is no cache that could be sound.
 *
 * @throws CacheError NOT_FOUND
 */
function refuseOther(name: string, findings: readonly Finding[]): void {
  if (findings.some(({ severity }) => severity === 'corrupt')) return;
  const what = findings.find(({ kind }) => kind === 'unknown');
  throw new CacheError('NOT_FOUND', `there is no build cache at ${name}: ${what?.message ?? 'it holds nothing'}`, {
    hint: 'list its caches with "bkcache list", or export a cache to it again',
    side: 'import',
  });
}

function result(
  store: CacheStore,
  target: string,
  tags: number,
  findings: readonly Finding[],
  { total, blobs, bytes }: Read,
): VerifyResult {
  // What a finding says itself comes before what can be done about its kind.
  const remedied = findings.map((finding) => {
    const { repair, hint } = store.remedy(finding, target);
    return { ...finding, repair: finding.repair ?? repair, hint: finding.hint ?? hint };
  });
  return {
    target,
    sound: findings.every(({ severity }) => severity === 'note'),
    findings: sortedFindings(remedied),
    tags,
    blobs: total,
    read: blobs,
    bytesRead: bytes,
    ...(store.requests === undefined ? {} : { requests: store.requests }),
  };
}
