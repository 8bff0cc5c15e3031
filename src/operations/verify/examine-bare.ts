import type { CacheStore, StoreEntry } from '../../backend/cache-store.js';
import type { Digest } from '../../oci/digest.js';
import { Needs, type NeedSink } from './need.js';
import { lookForBlobs, sayUnnamed, sayUnused } from './presence.js';
import { readBlobs } from './read-blobs.js';
import type { Examination } from './examine.js';
import { Report } from './report.js';
import { sampleOf } from './sample.js';
import { Survey } from './survey.js';
import type { VerifyOptions } from './verify.js';
import { Walk } from './walk.js';

/** How many blobs are asked for by name before it is written down which of them are there. */
const ASKED_AT_ONCE = 1000;

/** A place whose caches have no manifests, and whose blobs are listed. */
type BareStore = CacheStore & Required<Pick<CacheStore, 'blobs'>>;

/**
 * As `examineStore`, for caches without a manifest, of which there may be many with millions of blobs: a first pass over the
 * documents writes down what fits into the memory, and a second one gathers what is said of the blobs with which something
 * may be wrong, and of those that are to be read.
 */
export async function examineBare(
  store: BareStore,
  entries: readonly StoreEntry[],
  options: VerifyOptions,
): Promise<Examination> {
  const { signal } = options;
  const survey = new Survey();
  const walk = new Walk(store, { layers: survey, signal });
  await walk.entries(entries);
  const report = new Report();
  const unused = { count: 0, bytes: 0 };
  for await (const { digest, size, at } of store.blobs(signal)) {
    if (digest === undefined) sayUnnamed(report, at);
    else if (!survey.see(digest, size)) {
      unused.count++;
      unused.bytes += size;
    }
  }
  await askForUnseen(store, survey, signal);
  sayUnused(report, unused);
  const chosen = chosenOf(store, survey, options);
  const { table } = survey;
  const isWanted = (row: number) => survey.isNeeded(row) && (survey.isSuspect(row) || chosen.has(row));
  const present = new Map<Digest, number>();
  let wanted = 0;
  for (let row = 0; row < table.size; row++) {
    if (!isWanted(row) && !chosen.has(row)) continue;
    if (survey.isNeeded(row)) wanted++;
    if (survey.isPresent(row)) present.set(table.at(row), survey.sizeAt(row));
  }
  const needs = new Needs();
  const layers: NeedSink = {
    add(layer, role, required, origin) {
      if (isWanted(table.find(layer.digest))) needs.add(layer, role, required, origin);
    },
  };
  if (wanted > 0) await new Walk(store, { layers, signal }).entries(entries);
  const seen = Array.from(present, ([digest, size]) => ({ digest, size, at: '' })).filter(({ digest }) =>
    needs.has(digest),
  );
  // They have been asked for.
  const missing = await lookForBlobs({ blob: (id) => store.blob(id) }, seen, needs);
  const known = [...report.findings(), ...missing.findings];
  const isChosen = (digest: Digest) => chosen.has(table.find(digest));
  const read = await readBlobs(store, { needs, sound: walk.sound }, known, options, { present, isChosen });
  return {
    entries,
    needs,
    read: { ...read, total: table.size + walk.sound.size },
    findings: [...known, ...walk.findings, ...read.findings],
  };
}

/** A listing may lag behind: what it does not show is asked for by its name. */
async function askForUnseen(store: CacheStore, survey: Survey, signal: AbortSignal | undefined): Promise<void> {
  const { table } = survey;
  const { size } = table;
  let unseen: Digest[] = [];
  const ask = async () => {
    for (const [digest, bytes] of (await store.look?.(unseen, signal)) ?? []) survey.see(digest, bytes);
    unseen = [];
  };
  for (let row = 0; row < size; row++) {
    if (survey.isPresent(row)) continue;
    unseen.push(table.at(row));
    if (unseen.length === ASKED_AT_ONCE) await ask();
  }
  if (unseen.length > 0) await ask();
}

/** The rows of the blobs that are read although nothing is known to be wrong with them. */
function chosenOf(store: CacheStore, survey: Survey, options: VerifyOptions): ReadonlySet<number> {
  const { deep = false, sample } = options;
  if (sample === undefined && !deep && store.readsOnRequest === true) return new Set();
  const rows: number[] = [];
  for (let row = 0; row < survey.table.size; row++) if (survey.isPresent(row)) rows.push(row);
  return new Set(sampleOf(rows, sample, (row) => ({ digest: survey.table.at(row), size: survey.sizeAt(row) })));
}
