import {
  type CacheStore,
  type Changes,
  type GcResult,
  refuseWithout,
  type RequestCounts,
} from '../../backend/cache-store.js';
import { locate, openStore } from '../../backend/backends.js';
import { readWholePlace } from '../../backend/option-string.js';
import { checkCall } from '../../calls.js';
import { abortable, CacheError } from '../../errors.js';
import { type Graph, hasResults } from '../../graph/graph.js';
import { oversized, type SavedCache } from '../../graph/save.js';
import { Session, type SessionOptions } from '../../session.js';
import type { Digest } from '../../oci/digest.js';
import { topOf } from '../../oci/document.js';
import { fitImportLimit, fitSize, type BlobSizes, neededSizes, sizeOf } from './budget.js';
import { type DropReason, type TagPolicy, TagRules } from './policy.js';
import { readTagged, type Tagged, type UseSource } from './tagged.js';

export interface PruneOptions extends TagPolicy, Pick<SessionOptions, 'layout' | 'registry' | 'signal' | 'onNote'> {
  /** The limit for the size of all that tags need, in bytes. */
  readonly maxSize?: number | undefined;
  /** Bring every config and manifest under the 1 MiB that BuildKit imports. */
  readonly fitImportLimit?: boolean | undefined;
  /** As for collectGarbage, in milliseconds. */
  readonly grace?: number | undefined;
  readonly dryRun?: boolean | undefined;
}

/** A cache out of which results were evicted. */
export interface ShrunkTag {
  readonly tag: string | undefined;
  readonly from: Digest;
  readonly to: Digest;
  readonly reason: 'max-size' | 'import-limit';
  /** How many records had results before, and have some now. */
  readonly resultsBefore: number;
  readonly results: number;
}

export interface PruneResult {
  readonly dropped: readonly {
    readonly tag: string;
    readonly digest: Digest;
    readonly reason: DropReason;
    /** As RFC 3339. */
    readonly lastUsed: string;
    /** What says so. */
    readonly lastUsedBy: UseSource;
  }[];
  readonly shrunk: readonly ShrunkTag[];
  /** What tags needed before and need now, in bytes. */
  readonly sizeBefore: number;
  readonly size: number;
  /** The limits that could not be reached without changing protected tags; empty if all were reached. */
  readonly unmet: readonly string[];
  /** What was freed; for a dry run, what would be. Unset for a place without gc, such as a bucket. */
  readonly collected?: GcResult;
  /** Why nothing was freed, for a place without gc: what frees blobs there. */
  readonly notFreed?: string;
  /** Of a bucket: the requests that it took. */
  readonly requests?: RequestCounts;
}

/**
 * Makes a folder or a bucket of caches smaller by a policy: drops whole tags by name, age and number; then, where that is not
 * enough for the size, evicts results from the caches that are left, the least recently used first, whole chains at a
 * time, with all keys kept. In the end gc frees the blobs, where the place has a gc.
 *
 * @param folder - or an import string that leads into a place
 * @throws CacheError USAGE for an invalid pattern, for a place that frees its blobs itself, for a grace without gc, NOT_FOUND, CORRUPT when
 *   anything of it cannot be read (nothing is changed then), BUSY
 */
export async function prune(folder: string, options: PruneOptions = {}): Promise<PruneResult> {
  checkCall('prune', { folder, options });
  const rules = new TagRules(options);
  const place = await readWholePlace(folder, options.onNote);
  return abortable(options.signal, async () => {
    await using session = new Session(options);
    await using store = await openStore(await locate(place, 'import', session), session);
    refuseWithout(store, 'prune', 'blobs', 'needs', 'change');
    if (isWithoutGc(store) && options.grace !== undefined) {
      throw new CacheError('USAGE', `a grace period is for gc, which is a step of its own for ${store.name}`, {
        hint: store.freedBy ?? store.instead?.gc,
      });
    }
    return await new Pruning(store, rules, options).run();
  });
}

/** Whether gc is no part of prune in a place. */
function isWithoutGc(store: CacheStore): boolean {
  return store.gc === undefined || store.freedBy !== undefined;
}

/** A place that can do what prune needs. */
type Store = CacheStore & Required<Pick<CacheStore, 'blobs' | 'needs' | 'change'>>;

/** A cache, and the smaller cache that replaces it. */
interface Shrinking {
  readonly before: Tagged;
  readonly graph: Graph;
  readonly saved: SavedCache;
  readonly reason: ShrunkTag['reason'];
}

class Pruning {
  readonly #store: Store;
  readonly #rules: TagRules;
  readonly #options: PruneOptions;
  readonly #sizes = new Map<Digest, number>();
  readonly #unmet: string[] = [];

  constructor(store: Store, rules: TagRules, options: PruneOptions) {
    this.#store = store;
    this.#rules = rules;
    this.#options = options;
  }

  async run(): Promise<PruneResult> {
    const { signal, dryRun = false } = this.#options;
    for await (const { digest, size } of this.#store.blobs(signal)) if (digest) this.#sizes.set(digest, size);
    const tagged = await readTagged(this.#store, this.#sizes, signal);
    const dropped = this.#rules.dropped(tagged, Date.now());
    const kept = tagged.filter((one) => !dropped.has(one));
    const shrinking = this.#shrink(kept);
    const changes = changesOf([...dropped.keys()], shrinking);
    if (!dryRun) await this.#store.change(changes, signal);
    const needs = tagged.map((one) => one.needs);
    const freed = await this.#free(needs, changes);
    return {
      dropped: Array.from(dropped, ([{ names, entry, lastUsed, lastUsedBy }, reason]) => ({
        tag: names[0] ?? '',
        digest: entry.descriptor.digest,
        reason,
        lastUsed: new Date(lastUsed).toISOString(),
        lastUsedBy,
      })),
      shrunk: shrinking.map(({ before: { names, entry, cache }, graph, saved, reason }) => ({
        tag: names[0],
        from: entry.descriptor.digest,
        to: topOf(saved.documents).descriptor.digest,
        reason,
        resultsBefore: cache?.graph.records.filter(hasResults).length ?? 0,
        results: graph.records.filter(hasResults).length,
      })),
      sizeBefore: sizeOf(needs),
      size: sizeOf(this.#needsAfter(kept, shrinking)),
      unmet: [...this.#unmet, ...this.#overQuota(freed)],
      ...freed,
      ...(this.#store.requests === undefined ? {} : { requests: this.#store.requests }),
    };
  }

  async #free(before: readonly BlobSizes[], changes: Changes): Promise<Pick<PruneResult, 'collected' | 'notFreed'>> {
    const store = this.#store;
    if (store.gc === undefined || store.freedBy !== undefined) {
      return { notFreed: store.freedBy ?? store.instead?.gc ?? 'the place has no gc' };
    }
    const { grace, dryRun = false, maxSize, signal } = this.#options;
    const former = new Set(before.flatMap((some) => [...some.keys()]));
    const planned = dryRun ? changes : undefined;
    return { collected: await store.gc({ former, grace, maxSize, dryRun, planned, signal }) };
  }

  /** What a quota has to say that could not be kept. */
  #overQuota({ collected }: Pick<PruneResult, 'collected'>): string[] {
    const { maxSize } = this.#options;
    if (this.#store.hasQuota !== true || maxSize === undefined || (collected?.size ?? 0) <= maxSize) return [];
    const why = 'what is left is needed by caches, too young, or no cache of BuildKit';
    return [`${maxSize} bytes: ${collected?.size ?? 0} are left; ${why}`];
  }

  #shrink(kept: readonly Tagged[]): Shrinking[] {
    const open = kept.filter((one) => one.names.length > 0 && !this.#rules.protects(one) && one.cache !== undefined);
    const fitted = this.#options.fitImportLimit === true ? this.#fitImportLimit(kept, open) : [];
    const { maxSize } = this.#options;
    const isEvicting = maxSize !== undefined && this.#store.hasQuota !== true;
    return isEvicting ? this.#fitSize(kept, open, fitted, maxSize) : fitted;
  }

  #fitImportLimit(kept: readonly Tagged[], open: readonly Tagged[]): Shrinking[] {
    const shrinking: Shrinking[] = [];
    const changeable = new Set(open);
    for (const before of kept) {
      if (before.cache === undefined) continue;
      const { graph, saved } = before.cache;
      if (oversized(saved).length === 0) continue;
      const [name = before.entry.descriptor.digest] = before.names;
      if (!changeable.has(before)) {
        this.#unmet.push(`${name} is over the import limit, and protected`);
        continue;
      }
      const { value, fits } = fitImportLimit({ graph, lastUsed: before.entry.lastUsed }, saved);
      if (!fits) this.#unmet.push(`${name} is over the import limit without a single result`);
      shrinking.push({ before, ...value, reason: 'import-limit' });
    }
    return shrinking;
  }

  #fitSize(kept: readonly Tagged[], open: readonly Tagged[], fitted: readonly Shrinking[], limit: number): Shrinking[] {
    const shrunk = new Map(fitted.map((one) => [one.before, one]));
    const caches = open.flatMap((before) => {
      const smaller = shrunk.get(before);
      const cache = smaller ?? before.cache;
      if (cache === undefined) return [];
      const needs = smaller === undefined ? before.needs : neededSizes(smaller, this.#sizes);
      return { before, graph: cache.graph, saved: cache.saved, lastUsed: before.entry.lastUsed, needs };
    });
    const touched = new Set(caches.map(({ before }) => before));
    const closed = kept.filter((one) => !touched.has(one)).flatMap((one) => [...one.needs]);
    const { value, fits } = fitSize(caches, new Map(closed), this.#sizes, limit);
    if (!fits) this.#unmet.push(`${limit} bytes: what is left is protected, or is no result of a cache`);
    for (const [index, { before }] of caches.entries()) {
      const now = value[index];
      if (now === undefined) continue;
      shrunk.set(before, { before, ...now, reason: shrunk.get(before)?.reason ?? 'max-size' });
    }
    return [...shrunk.values()];
  }

  #needsAfter(kept: readonly Tagged[], shrinking: readonly Shrinking[]): BlobSizes[] {
    const smaller = new Map(shrinking.map((one) => [one.before, one]));
    return kept.map((one) => {
      const cache = smaller.get(one);
      return cache === undefined ? one.needs : neededSizes(cache, this.#sizes);
    });
  }
}

function changesOf(dropping: readonly Tagged[], shrinking: readonly Shrinking[]): Changes {
  return {
    entries: [
      ...dropping.map(({ entry }) => ({ entry, to: undefined })),
      ...shrinking.map(({ before: { entry, lastUsed }, saved }) => {
        // A cache is not younger after it was made smaller.
        return { entry, to: topOf(saved.documents).descriptor, lastUsed };
      }),
    ],
    documents: shrinking.flatMap(({ saved }) => saved.documents),
  };
}
