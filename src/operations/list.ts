import {
  type Amount,
  type CacheStore,
  isUnread,
  type RequestCounts,
  shownNames,
  type StoreEntry,
} from '../backend/cache-store.js';
import { locate, openStore } from '../backend/backends.js';
import { readPlace } from '../backend/option-string.js';
import { Outage } from '../backend/outage.js';
import { loadEntry } from '../backend/load-entry.js';
import { parallel } from '../bytes/parallel.js';
import { checkCall } from '../calls.js';
import { abortable, CacheError, isOutOfReach } from '../errors.js';
import { blobsOf } from '../graph/graph.js';
import type { BlobId } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { DigestTable } from '../oci/digest-table.js';
import { Session, type SessionOptions } from '../session.js';
import { type CacheSummary, summarize } from './cache-summary.js';

/** A row of a listing: an entry of index.json, or a tag of a registry. */
export interface ListEntry {
  readonly tag: string | undefined;
  /** Unset where a registry does not say what its tag names. */
  readonly digest?: Digest;
  readonly mediaType?: string;
  /** When it was written, by the clock of a bucket, as RFC 3339; unset for other places. */
  readonly lastModified?: string;
  /** What it is: a cache with its numbers, something else, or why it cannot be read. */
  readonly cache?: CacheSummary & {
    readonly layers: number;
    readonly records: number;
  };
  readonly problem?: string;
}

/** The rows of a place, and what they come to. */
export interface Listing {
  readonly entries: readonly ListEntry[];
  /** The layers of all caches, each blob counted once. */
  readonly total: Amount;
  readonly requests?: RequestCounts | undefined;
}

/**
 * What a folder, a repository of a registry or a bucket has under its tags or names. An entry that cannot be read, or that a registry
 * refuses, has the reason in its row; in a registry, where caches stand among images, what is no cache is left out.
 *
 * @param text - a folder, or an import string
 * @throws CacheError NOT_FOUND, CORRUPT when index.json itself cannot be read, UNREACHABLE or DENIED when a
 *   registry cannot be asked
 */
export async function listCaches(text: string, access: SessionOptions = {}): Promise<ListEntry[]> {
  checkCall('listCaches', { text, options: access });
  return [...(await listPlace(text, access)).entries];
}

/** As `listCaches`, with the totals. */
export async function listPlace(text: string, access: SessionOptions): Promise<Listing> {
  const { signal, onNote } = access;
  const place = await readPlace(text, onNote);
  return abortable(signal, async () => {
    await using session = new Session(access);
    await using store = await openStore(await locate(place, 'import', session), session);
    const total = new Total();
    const entries = await list(store, total, signal);
    return { entries, total, requests: store.requests };
  });
}

/** Blobs, each counted once. */
class Total implements Amount {
  count = 0;
  bytes = 0;
  readonly #known = new DigestTable();

  add({ digest, size }: BlobId): void {
    if (this.#known.add(digest) < this.count) return;
    this.count++;
    this.bytes += size;
  }
}

async function list(store: CacheStore, total: Total, signal: AbortSignal | undefined): Promise<ListEntry[]> {
  const entries = await store.entries(signal);
  const rows: ListEntry[][] = [];
  const outage = new Outage();
  await parallel([...entries.entries()], store.concurrency ?? 1, signal, async ([index, entry], inner) => {
    if (isUnread(entry)) {
      rows[index] = entry.names.map((tag) => ({ tag, ...dated(entry), problem: entry.problem.message }));
      return;
    }
    const tags = shownNames(entry);
    try {
      const row = await rowOf(store, entry, total, inner);
      rows[index] = row === undefined ? [] : tags.map((tag) => ({ tag, ...dated(entry), ...row }));
      outage.answered();
    } catch (error) {
      inner.throwIfAborted();
      const { digest, mediaType } = entry.descriptor;
      const problem = outage.failed(error).message;
      rows[index] = tags.map((tag) => ({ tag, ...dated(entry), digest, mediaType, problem }));
    }
  });
  outage.end();
  return rows.flat();
}

function dated({ modified }: Pick<StoreEntry, 'modified'>): Pick<ListEntry, 'lastModified'> {
  return modified === undefined ? {} : { lastModified: new Date(modified).toISOString() };
}

/** @returns undefined for what is no cache and stands among caches */
async function rowOf(
  store: CacheStore,
  entry: StoreEntry,
  total: Total,
  signal: AbortSignal,
): Promise<Omit<ListEntry, 'tag'> | undefined> {
  const { digest, mediaType } = entry.descriptor;
  try {
    const cache = await loadEntry(store, entry, signal);
    const { layers, records } = cache.graph;
    for (const blob of blobsOf(cache.graph)) total.add(blob);
    return { digest, mediaType, cache: { ...summarize(cache), layers: layers.length, records: records.length } };
  } catch (error) {
    if (!(error instanceof CacheError) || isOutOfReach(error)) throw error;
    const isOther = error.code === 'NOT_FOUND' && store.isShared === true;
    return isOther ? undefined : { digest, mediaType, problem: error.message };
  }
}
