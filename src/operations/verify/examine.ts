import { allRead, type CacheStore, type StoreEntry } from '../../backend/cache-store.js';
import type { Finding } from '../../backend/finding.js';
import { examineBare } from './examine-bare.js';
import type { Needs } from './need.js';
import { lookForBlobs } from './presence.js';
import { type Read, readBlobs } from './read-blobs.js';
import { Report } from './report.js';
import type { VerifyOptions } from './verify.js';
import { type Restore, Walk } from './walk.js';

/** A place, looked at from end to end. */
export interface Examination {
  readonly entries: readonly StoreEntry[];
  /** Everything that was referred to; of caches without a manifest what may be wrong, and what was read. */
  readonly needs: Needs;
  readonly read: Read;
  readonly findings: readonly Finding[];
}

/** What may be known of a place beyond what can be read in it, so that what is below that is looked at, too. */
interface Aid {
  /** The entries to take where the place cannot say which it has. */
  readonly entries?: readonly StoreEntry[] | undefined;
  readonly restore?: Restore | undefined;
}

/**
 * Looks at everything in a place.
 *
 * @throws CacheError NOT_FOUND when there is no cache at all, BUSY; UNREACHABLE or DENIED for a place that cannot be asked
 */
export async function examineStore(store: CacheStore, options: VerifyOptions, aid: Aid = {}): Promise<Examination> {
  const { signal } = options;
  const { entries, faults } = (await store.examine?.(aid.entries, signal)) ?? {
    // With an entry that cannot be read, it is not known whether the place is sound.
    entries: allRead(await store.entries(signal)),
    faults: [],
  };
  if (listsBlobs(store) && entries.length > 0 && entries.every(({ isBare }) => isBare === true)) {
    const examination = await examineBare(store, entries, options);
    return { ...examination, findings: await stillThere(store, entries, examination.findings, signal) };
  }
  const report = new Report();
  for (const fault of faults) report.say(fault);
  const walk = new Walk(store, { restore: aid.restore, signal });
  await walk.entries(entries);
  const presence = store.blobs && (await lookForBlobs(store, store.blobs(signal), walk.needs, signal));
  const known = [...report.findings(), ...(presence?.findings ?? [])];
  const read = await readBlobs(store, walk, known, options, { present: presence?.present });
  if (presence !== undefined) await store.remember?.(read.verdicts, presence.present);
  const findings = [...known, ...walk.findings, ...read.findings];
  if (aid.entries !== undefined) return { entries, needs: walk.needs, read, findings };
  return { entries, needs: walk.needs, read, findings: await stillThere(store, entries, findings, signal) };
}

function listsBlobs(store: CacheStore): store is CacheStore & Required<Pick<CacheStore, 'blobs'>> {
  return store.blobs !== undefined;
}

/** Leaves out findings about entries that another process has removed or replaced in the meantime. */
async function stillThere(
  store: CacheStore,
  entries: readonly StoreEntry[],
  findings: readonly Finding[],
  signal: AbortSignal | undefined,
): Promise<readonly Finding[]> {
  if (!findings.some(({ severity, tags }) => severity === 'corrupt' && tags.length > 0)) return findings;
  const now = new Set(allRead(await store.entries(signal)).map(keyOf));
  const gone = entries.filter((entry) => !now.has(keyOf(entry)));
  const names = new Set(gone.map(({ names: [tag], descriptor }) => tag ?? descriptor.digest));
  return findings.filter(({ tags }) => tags.length === 0 || tags.some((tag) => !names.has(tag)));
}

/** Says the same of two entries when they are one. */
function keyOf({ names, descriptor: { mediaType, digest, size } }: StoreEntry): string {
  return JSON.stringify([names, mediaType, digest, size]);
}
