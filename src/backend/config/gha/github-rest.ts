import * as v from 'valibot';
import { CacheError } from '../../../errors.js';
import { GhaFailure, notTheService } from './gha-error.js';
import type { GhaConnection } from './gha-connection.js';

/** An entry as GitHub's REST API lists it. */
export interface RestEntry {
  readonly id: number;
  readonly key: string;
  readonly version: string;
  /** The scope of GitHub, such as `refs/heads/main`. */
  readonly ref: string;
  /** In bytes. */
  readonly size: number;
  /** In milliseconds since 1970. */
  readonly created: number;
  readonly accessed: number;
}

/** A page of a listing, and how many entries all pages have. */
export interface RestPage {
  readonly entries: readonly RestEntry[];
  readonly total: number;
}

export const REST_PAGE = 100;
/** How often a listing is repeated that changes. */
const LISTINGS = 5;
const HEADERS = { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' };

const time = v.pipe(
  v.nullish(v.string(), ''),
  v.transform((text) => Date.parse(text) || 0),
);
const entrySchema = v.looseObject({
  id: v.pipe(v.number(), v.safeInteger()),
  key: v.string(),
  version: v.nullish(v.string(), ''),
  ref: v.nullish(v.string(), ''),
  size_in_bytes: v.nullish(v.number(), 0),
  created_at: time,
  last_accessed_at: time,
});
const pageSchema = v.looseObject({ total_count: v.number(), actions_caches: v.array(entrySchema) });

const repositorySchema = v.looseObject({ default_branch: v.string() });

/** The caches of one repository in GitHub's REST API, which lists and deletes entries, and does not read them. */
export class GithubRest {
  readonly connection: GhaConnection;
  /** How many requests have deleted. */
  deletions = 0;
  readonly #base: string;

  /** @param api - such as `https://api.github.com`, without a slash at its end */
  constructor(connection: GhaConnection, api: string, repository: string) {
    this.connection = connection;
    this.#base = `${api}/repos/${repository}`;
  }

  /**
   * The entries whose keys begin with a prefix, page by page, the oldest first.
   *
   * @param ref - the scope; all scopes when left out
   */
  async *list(
    { prefix, ref }: { readonly prefix: string; readonly ref?: string },
    signal: AbortSignal | undefined,
  ): AsyncGenerator<RestPage, void, undefined> {
    const purpose = `list ${prefix === '' ? 'entries' : prefix}`;
    for (let page = 1; ; page++) {
      // What is added meanwhile comes last.
      const order = { sort: 'created_at', direction: 'asc' };
      const query = new URLSearchParams({ key: prefix, per_page: `${REST_PAGE}`, page: `${page}`, ...order });
      if (ref !== undefined) query.set('ref', ref);
      const url = new URL(`${this.#base}/actions/caches?${query.toString()}`);
      const { json, status } = await this.connection.request({ method: 'GET', url, headers: HEADERS, purpose }, signal);
      const parsed = v.safeParse(pageSchema, json);
      if (!parsed.success) {
        throw notTheService(this.connection.about(purpose), { status, body: JSON.stringify(json) ?? '' });
      }
      const { total_count: total, actions_caches: found } = parsed.output;
      const entries = found.map(({ size_in_bytes: size, created_at: created, last_accessed_at: accessed, ...one }) => ({
        id: one.id,
        key: one.key,
        version: one.version,
        ref: one.ref,
        size,
        created,
        accessed,
      }));
      yield { entries, total };
      if (found.length === 0 || page * REST_PAGE >= total) return;
    }
  }

  /** All entries of a listing. */
  async all(
    wanted: { readonly prefix: string; readonly ref?: string },
    signal: AbortSignal | undefined,
  ): Promise<RestEntry[]> {
    const found = new Map<number, RestEntry>();
    for await (const { entries } of this.list(wanted, signal)) for (const entry of entries) found.set(entry.id, entry);
    return [...found.values()];
  }

  /**
   * As `all`, and no entry is missing that was there all the time: one that is evicted meanwhile would hide another one between
   * two pages. So a listing of several pages counts when it has come twice.
   *
   * @throws CacheError UNREACHABLE for a listing that changes again and again
   */
  async settled(wanted: { readonly prefix: string }, signal: AbortSignal | undefined): Promise<RestEntry[]> {
    let before = await this.all(wanted, signal);
    if (before.length < REST_PAGE) return before;
    for (let tries = 0; tries < LISTINGS; tries++) {
      const again = await this.all(wanted, signal);
      const known = new Set(before.map(({ id }) => id));
      if (again.length === known.size && again.every(({ id }) => known.has(id))) return again;
      before = again;
    }
    const { name, side } = this.connection;
    throw new CacheError('UNREACHABLE', `${name}: the listing of ${wanted.prefix} changes each time`, { side });
  }

  /** The scope of the default branch, whose entries all branches read. */
  async defaultRef(signal: AbortSignal | undefined): Promise<string> {
    const purpose = 'ask for the default branch';
    const { json, status } = await this.connection.request(
      { method: 'GET', url: new URL(this.#base), headers: HEADERS, purpose },
      signal,
    );
    const parsed = v.safeParse(repositorySchema, json);
    if (parsed.success) return `refs/heads/${parsed.output.default_branch}`;
    throw notTheService(this.connection.about(purpose), { status, body: JSON.stringify(json) ?? '' });
  }

  /** Deletes one entry, by its id: a key would delete the entries of that key in all scopes. One that is gone is no error. */
  async remove({ id, key }: Pick<RestEntry, 'id' | 'key'>, signal: AbortSignal | undefined): Promise<void> {
    const url = new URL(`${this.#base}/actions/caches/${id}`);
    this.deletions++;
    try {
      await this.connection.ask({ method: 'DELETE', url, headers: HEADERS, purpose: `delete ${key}` }, signal);
    } catch (error) {
      if (!(error instanceof GhaFailure)) throw error;
      if (error.refusal.status !== 404) throw error.described;
    }
  }
}
