import { decodeCacheConfig } from '../../../buildkit/cache-config.js';
import { CacheError } from '../../../errors.js';
import { amount } from '../../../layout/gc/gc-result.js';
import { readDocument } from '../../../oci/content.js';
import type { Digest } from '../../../oci/digest.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import { type GcOptions, type GcResult, isUnread, type TagUsage } from '../../cache-store.js';
import { BLOB_PREFIX, blobIn, ENTRY_VERSION, signedBy } from './cache-keys.js';
import type { GhaEntries, KnownIndexes } from './gha-entries.js';
import type { GithubRest, RestEntry } from './github-rest.js';

/** Longer than any token lives, and so than any export or import goes on; in milliseconds. */
const DEFAULT_GRACE = 24 * 3_600_000;
/** By how much the dates of two entries may be in the wrong order, in milliseconds. */
const CLOCK_TOLERANCE = 5 * 60_000;
/** After how many deletions the indexes are read again; and how old a listing of all entries may be then, in milliseconds. */
const BATCH = 50;
const LISTING_AGE = 60_000;

/** What living indexes need, and what those may need that could not be read. */
interface Needs {
  /** What each cache needs, by its name. */
  readonly byName: ReadonlyMap<string, ReadonlySet<Digest>>;
  readonly digests: ReadonlySet<Digest>;
  /** The newest indexes that could not be read. */
  readonly unread: readonly RestEntry[];
  /** All newest indexes. */
  readonly living: ReadonlySet<number>;
  /** Indexes that a newer one has replaced, by their ids. */
  readonly replaced: ReadonlySet<number>;
  /** All indexes of caches that count as removed, by their ids. */
  readonly gone: ReadonlySet<number>;
}

interface Garbage {
  readonly entry: RestEntry;
  readonly digest: Digest | undefined;
}

/**
 * Frees what no living index of any scope needs: layers, signatures, and indexes that a newer one has replaced.
 *
 * An export stores layers first and its index last, and relies on layers that it finds; an import looks for the layers of an
 * index that may be replaced meanwhile. All of them end with their token, and a look-up makes an entry young. So an entry goes
 * only if it was neither made nor used for longer than any token lives, entries are listed before indexes, and indexes are read
 * again while entries are deleted.
 *
 * What an index needs that this token does not read is not known: each layer that is older than it, and that its scope may
 * read, stays.
 */
export async function gcEntries(rest: GithubRest, entries: GhaEntries, options: GcOptions): Promise<GcResult> {
  const { grace = DEFAULT_GRACE, maxSize, dryRun = false, planned, signal } = options;
  const cutoff = Date.now() - grace;
  const listed = await rest.all({ prefix: '' }, signal);
  const defaultRef = await rest.defaultRef(signal);
  const dropped = new Set((planned?.entries ?? []).flatMap(({ entry, to }) => (to === undefined ? entry.names : [])));
  const read = async () => needsOf(entries, await entries.list(signal), dropped, signal);
  let needs = await read();
  const all = listed.filter(({ id }) => !needs.gone.has(id));
  const found = {
    garbage: [] as Garbage[],
    young: [] as RestEntry[],
    live: [] as RestEntry[],
    uncertain: [] as RestEntry[],
  };
  for (const entry of all) {
    if (entry.version !== ENTRY_VERSION) continue;
    const digest = blobIn(entry.key) ?? signedBy(entry.key);
    if (digest === undefined && !needs.replaced.has(entry.id)) continue;
    const state = stateOf({ entry, digest }, needs, { cutoff, defaultRef });
    if (state === 'garbage') found.garbage.push({ entry, digest });
    else found[state].push(entry);
  }
  const total = sizeOf(all);
  const chosen = chosenOf(found.garbage, total, maxSize);
  const removed: RestEntry[] = [];
  let now = new Map(all.map((entry) => [entry.id, entry]));
  let listedAt = Date.now();
  for (const [index, { entry: listedEntry, digest }] of chosen.entries()) {
    if (index > 0 && index % BATCH === 0 && !dryRun) {
      // Builds may have looked for entries since.
      if (Date.now() - listedAt > LISTING_AGE) {
        now = new Map((await rest.all({ prefix: '' }, signal)).map((entry) => [entry.id, entry]));
        listedAt = Date.now();
      }
      needs = await read();
    }
    const entry = now.get(listedEntry.id);
    if (entry === undefined || stateOf({ entry, digest }, needs, { cutoff, defaultRef }) !== 'garbage') continue;
    if (!dryRun) await rest.remove(entry, signal);
    removed.push(entry);
  }
  const { limit } = rest.connection;
  return {
    removed: amount(removed),
    setAside: amount([]),
    putBack: amount([]),
    young: amount(found.young),
    leftovers: amount([]),
    live: amount(found.live),
    uncertain: amount(found.uncertain),
    size: total - sizeOf(removed),
    budget: {
      deletions: dryRun ? removed.length + needs.gone.size : rest.deletions,
      ...(limit === undefined ? {} : { left: limit.left, reset: new Date(limit.reset).toISOString() }),
    },
    tags: usageOf(needs, all),
    paths: removed.map(({ key, ref, id }) => `${key} of ${ref} (${id})`),
  };
}

function stateOf(
  { entry, digest }: Garbage,
  needs: Needs,
  { cutoff, defaultRef }: { readonly cutoff: number; readonly defaultRef: string },
): 'garbage' | 'young' | 'live' | 'uncertain' {
  if (needs.living.has(entry.id)) return 'live';
  if (digest !== undefined) {
    if (needs.digests.has(digest)) return 'live';
    if (needs.unread.some((index) => mayNeed(index, entry, defaultRef))) return 'uncertain';
  }
  return Math.max(entry.created, entry.accessed) > cutoff ? 'young' : 'garbage';
}

/**
 * Whether an index that could not be read may need an entry: a blob that was there before it, in a scope that its own one reads. A
 * pull request reads the branch that it goes to as well, which its scope does not tell.
 */
function mayNeed(index: RestEntry, { key, ref, created }: RestEntry, defaultRef: string): boolean {
  // A signature comes after what it signs.
  if (signedBy(key) === undefined && created > index.created + CLOCK_TOLERANCE) return false;
  return ref === index.ref || ref === defaultRef || index.ref.startsWith('refs/pull/');
}

/** What goes: all of it, or as much as brings a size under a limit, the least recently used first. */
function chosenOf(garbage: readonly Garbage[], total: number, maxSize: number | undefined): readonly Garbage[] {
  const ordered = garbage.toSorted((a, b) => a.entry.accessed - b.entry.accessed || a.entry.id - b.entry.id);
  if (maxSize === undefined) return ordered;
  let left = total;
  return ordered.filter(({ entry }) => {
    if (left <= maxSize) return false;
    left -= entry.size;
    return true;
  });
}

/** @param dropped - the names of caches that count as removed */
async function needsOf(
  entries: GhaEntries,
  caches: readonly KnownIndexes[],
  dropped: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<Needs> {
  const byName = new Map<string, ReadonlySet<Digest>>();
  const unread: RestEntry[] = [];
  const living = new Set<number>();
  const replaced = new Set<number>();
  const gone = new Set<number>();
  for (const { name, newest, older, entry } of caches) {
    if (dropped.has(name)) {
      for (const { id } of [...older, newest]) gone.add(id);
      continue;
    }
    for (const { id } of older) replaced.add(id);
    living.add(newest.id);
    const needs = isUnread(entry) ? undefined : await digestsIn(entries, entry.descriptor.digest, signal);
    if (needs === undefined) unread.push(newest);
    else byName.set(name, needs);
  }
  const digests = new Set([...byName.values()].flatMap((some) => [...some]));
  return { byName, digests, unread, living, replaced, gone };
}

/** The layers of an index, and the index itself, which a signature is for; undefined for what is no cacheconfig. */
async function digestsIn(
  entries: GhaEntries,
  digest: Digest,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<Digest> | undefined> {
  const content = entries.document(digest);
  if (content === undefined) return undefined;
  try {
    const bytes = await readDocument(content, digest, 'an index', { limit: JSON_LIMIT, signal });
    return new Set([digest, ...decodeCacheConfig(bytes, 'an index').layers.map(({ blob }) => blob)]);
  } catch (error) {
    if (!(error instanceof CacheError) || error.code !== 'CORRUPT') throw error;
    return undefined;
  }
}

function usageOf({ byName }: Needs, all: readonly RestEntry[]): TagUsage[] {
  const sizes = new Map<Digest, number>();
  for (const { key, version, size } of all) {
    const digest = version === ENTRY_VERSION && key.startsWith(BLOB_PREFIX) ? blobIn(key) : undefined;
    if (digest !== undefined) sizes.set(digest, size);
  }
  const users = new Map<Digest, number>();
  for (const needs of byName.values()) for (const digest of needs) users.set(digest, (users.get(digest) ?? 0) + 1);
  return Array.from(byName, ([tag, [index, ...layers]]) => {
    let [total, exclusive] = [0, 0];
    for (const layer of layers) {
      const size = sizes.get(layer) ?? 0;
      total += size;
      if (users.get(layer) === 1) exclusive += size;
    }
    return index === undefined ? [] : [{ tag, digest: index, total, shared: total - exclusive, exclusive }];
  }).flat();
}

function sizeOf(entries: readonly RestEntry[]): number {
  return entries.reduce((sum, { size }) => sum + size, 0);
}
