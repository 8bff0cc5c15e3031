import { parallel } from '../../../bytes/parallel.js';
import { CacheError } from '../../../errors.js';
import type { Content } from '../../../oci/content.js';
import type { Digest } from '../../../oci/digest.js';
import type { Document } from '../../../oci/document.js';
import type { StoreEntry, UnreadEntry } from '../../cache-store.js';
import { DocumentSpool } from '../document-spool.js';
import { type ActionsToken, ownScope } from './actions-token.js';
import { ENTRY_VERSION, type IndexKey, indexIn } from './cache-keys.js';
import { readDocument } from './gha-index.js';
import { CONCURRENCY, type GhaPlace } from './gha-place.js';
import type { GithubRest, RestEntry } from './github-rest.js';

/** A cache in one scope of GitHub: its indexes, of which the newest one counts. */
export interface CacheIndexes {
  /** The option scope=; with the scope of GitHub behind it where that is not the token's own, as `app@refs/heads/main`. */
  readonly name: string;
  readonly key: IndexKey;
  readonly newest: RestEntry;
  readonly older: readonly RestEntry[];
}

/** A cache with what it is, as far as the token reads it. */
export interface KnownIndexes extends CacheIndexes {
  readonly entry: StoreEntry | UnreadEntry;
}

/** What a cache is called by those who have a token. */
export function cacheName(name: string, ref: string, access: ActionsToken): string {
  return ref === ownScope(access) ? name : `${name}@${ref}`;
}

/** The caches of a repository in all scopes. */
export async function listIndexes(
  rest: GithubRest,
  access: ActionsToken,
  signal: AbortSignal | undefined,
): Promise<CacheIndexes[]> {
  const groups = new Map<string, { readonly key: IndexKey; readonly all: RestEntry[] }>();
  for (const entry of await rest.settled({ prefix: 'index-' }, signal)) {
    const key = entry.version === ENTRY_VERSION ? indexIn(entry.key) : undefined;
    if (key === undefined) continue;
    const name = `${cacheName(key.name, entry.ref, access)}${key.isSigned ? ' (signed)' : ''}`;
    const group = groups.get(name) ?? { key, all: [] };
    groups.set(name, group);
    group.all.push(entry);
  }
  return Array.from(groups, ([name, { key, all }]) => {
    const [newest, ...older] = all.toSorted((a, b) => b.created - a.created || numberOf(b) - numberOf(a));
    return newest === undefined ? [] : [{ name, key, newest, older }];
  }).flat();
}

function numberOf({ key }: RestEntry): number {
  return indexIn(key)?.number ?? 0;
}

/** The caches of a repository and their documents, which are kept: an entry never changes. */
export class GhaEntries implements AsyncDisposable {
  readonly #place: GhaPlace;
  readonly #rest: GithubRest;
  readonly #spool = new DocumentSpool();
  /** By the ids of indexes. */
  readonly #known = new Map<number, StoreEntry>();

  constructor(place: GhaPlace, rest: GithubRest) {
    this.#place = place;
    this.#rest = rest;
  }

  document(digest: Digest): Content | undefined {
    return this.#spool.get(digest);
  }

  async list(signal: AbortSignal | undefined): Promise<KnownIndexes[]> {
    const caches = await listIndexes(this.#rest, this.#place.settings.access, signal);
    const known: KnownIndexes[] = [];
    await parallel([...caches.entries()], CONCURRENCY, signal, async ([index, cache], inner) => {
      known[index] = { ...cache, entry: await this.#read(cache, inner) };
    });
    return known;
  }

  /** Keeps a document that was read without a listing. */
  async keep(name: string, document: Document, signal: AbortSignal | undefined): Promise<StoreEntry> {
    await this.#spool.add(document, signal);
    return { names: [name], descriptor: document.descriptor, isBare: true };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
  }

  async #read({ name, newest }: CacheIndexes, signal: AbortSignal): Promise<StoreEntry | UnreadEntry> {
    const known = this.#known.get(newest.id);
    if (known !== undefined) return known;
    const modified = newest.created;
    const unread = (problem: CacheError, isOutOfScope: boolean) => ({
      names: [name],
      problem,
      isOutOfScope,
      modified,
    });
    const { scopes } = this.#place.settings.access;
    if (!scopes.some(({ scope }) => scope === newest.ref)) {
      return unread(new CacheError('DENIED', `the token of this job does not read ${newest.ref}`), true);
    }
    try {
      const found = await this.#place.find(newest.key, signal);
      if (found?.key !== newest.key) {
        return unread(new CacheError('DENIED', `${newest.key} is listed, and the service does not give it`), true);
      }
      const entry = await this.keep(name, await readDocument(this.#place, found, signal), signal);
      const read = { ...entry, modified };
      this.#known.set(newest.id, read);
      return read;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CacheError) || error.code === 'UNREACHABLE') throw error;
      return unread(error, false);
    }
  }
}
