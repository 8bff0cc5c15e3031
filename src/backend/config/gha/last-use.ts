import type { Digest } from '../../../oci/digest.js';
import type { StoreEntry } from '../../cache-store.js';
import { BLOB_PREFIX, blobIn, ENTRY_VERSION } from './cache-keys.js';
import type { GithubRest } from './github-rest.js';

/**
 * When builds used caches. The service writes down each look-up, and a user who looks after caches reads their indexes: so the date of an
 * index says nothing. Its layers tell: a build looks for those that it imports or exports, and nobody else does. Layers that
 * another cache needs as well say nothing of this one, if it has others.
 */
export class LastUse {
  readonly #rest: GithubRest;
  readonly #needsOf: (entries: readonly StoreEntry[]) => Promise<readonly ReadonlySet<Digest>[]>;
  #accessed: Promise<ReadonlyMap<Digest, number>> | undefined;
  #entries: readonly StoreEntry[] = [];
  #times: Promise<ReadonlyMap<StoreEntry, number>> | undefined;

  constructor(rest: GithubRest, needsOf: (entries: readonly StoreEntry[]) => Promise<readonly ReadonlySet<Digest>[]>) {
    this.#rest = rest;
    this.#needsOf = needsOf;
  }

  /** @param entries - all that could be read */
  over(entries: readonly StoreEntry[]): void {
    this.#entries = entries;
    this.#times = undefined;
  }

  /** In milliseconds since 1970; undefined where no layer says it. */
  async of(entry: StoreEntry): Promise<number | undefined> {
    this.#times ??= this.#read();
    return (await this.#times).get(entry);
  }

  async #read(): Promise<ReadonlyMap<StoreEntry, number>> {
    this.#accessed ??= accessOf(this.#rest);
    const accessed = await this.#accessed;
    const needs = await this.#needsOf(this.#entries);
    const users = new Map<Digest, number>();
    for (const some of needs) for (const digest of some) users.set(digest, (users.get(digest) ?? 0) + 1);
    return new Map(
      this.#entries.flatMap((entry, index) => {
        const layers = [...(needs[index] ?? [])].filter((digest) => accessed.has(digest));
        const own = layers.filter((digest) => users.get(digest) === 1);
        const times = (own.length > 0 ? own : layers).map((digest) => accessed.get(digest) ?? 0);
        return times.length === 0 ? [] : [[entry, Math.max(...times)] as const];
      }),
    );
  }
}

async function accessOf(rest: GithubRest): Promise<ReadonlyMap<Digest, number>> {
  const accessed = new Map<Digest, number>();
  for (const { key, version, accessed: time } of await rest.all({ prefix: BLOB_PREFIX }, undefined)) {
    const digest = version === ENTRY_VERSION ? blobIn(key) : undefined;
    if (digest !== undefined) accessed.set(digest, Math.max(time, accessed.get(digest) ?? 0));
  }
  return accessed;
}
