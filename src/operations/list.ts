import { checkCall } from '../calls.js';
import { locate, openRepository } from '../backend/backends.js';
import { readImport } from '../backend/option-string.js';
import { Outage } from '../backend/outage.js';
import { loadCache } from '../backend/repository/load-cache.js';
import type { RepositoryEntry, RepositoryReader } from '../backend/repository/repository.js';
import { isOptionString } from '../buildkit/values.js';
import { parallel } from '../bytes/parallel.js';
import { abortable, CacheError, isOutOfReach } from '../errors.js';
import { Session, type SessionOptions } from '../session.js';
import type { Digest } from '../oci/digest.js';
import { type CacheSummary, summarize } from './cache-summary.js';

/** A row of a listing: an entry of index.json, or a tag of a registry. */
export interface ListEntry {
  readonly tag: string | undefined;
  /** Unset where a registry does not say what its tag names. */
  readonly digest?: Digest;
  readonly mediaType?: string;
  /** What it is: a cache with its numbers, something else, or why it cannot be read. */
  readonly cache?: CacheSummary & {
    readonly layers: number;
    readonly records: number;
  };
  readonly problem?: string;
}

/**
 * What a folder or a repository of a registry has under its tags. An entry that cannot be read, or that a registry
 * refuses, has its reason beside it; in a registry, where caches stand among images, what is no cache is left out.
 *
 * @param text - a folder, or an import string
 * @throws CacheError NOT_FOUND, CORRUPT when index.json itself cannot be read, UNREACHABLE or DENIED when a
 *   registry cannot be asked
 */
export async function listCaches(text: string, access: SessionOptions = {}): Promise<ListEntry[]> {
  checkCall('listCaches', { text, options: access });
  const { signal, onNote } = access;
  const options = isOptionString(text)
    ? await readImport(text, onNote)
    : ({ type: 'local', attributes: { src: text } } as const);
  return abortable(signal, async () => {
    await using session = new Session(access);
    const repository = await openRepository(await locate(options, 'import', session), session);
    const found = await repository.entries(signal);
    const rows: (ListEntry | undefined)[] = [];
    const outage = new Outage();
    await parallel([...found.entries()], repository.concurrency ?? 1, signal, async ([index, entry], inner) => {
      if ('problem' in entry) {
        rows[index] = { tag: entry.tag, problem: entry.problem.message };
        return;
      }
      try {
        rows[index] = await listEntry(repository, entry, inner, options.type === 'local');
        outage.answered();
      } catch (error) {
        inner.throwIfAborted();
        const { digest, mediaType } = entry.descriptor;
        rows[index] = { tag: entry.tag, digest, mediaType, problem: outage.failed(error).message };
      }
    });
    outage.end();
    return rows.filter((row) => row !== undefined);
  });
}

async function listEntry(
  repository: RepositoryReader,
  { tag, descriptor }: RepositoryEntry,
  signal: AbortSignal,
  withOthers: boolean,
): Promise<ListEntry | undefined> {
  const { digest, mediaType } = descriptor;
  const entry = { tag, digest, mediaType };
  try {
    const cache = await loadCache(repository, descriptor, signal);
    return {
      ...entry,
      cache: {
        ...summarize(cache),
        layers: cache.graph.layers.length,
        records: cache.graph.records.length,
      },
    };
  } catch (error) {
    if (!(error instanceof CacheError) || isOutOfReach(error)) throw error;
    const isOther = error.code === 'NOT_FOUND' && !withOthers;
    return isOther ? undefined : { ...entry, problem: error.message };
  }
}
