import { checkCall } from '../../calls.js';
import { abortable } from '../../errors.js';
import { type Graph, hasResults } from '../../graph/graph.js';
import { oversized, type SavedCache } from '../../graph/save.js';
import { listBlobs } from '../../layout/blobs/blob-list.js';
import { gc } from '../../layout/gc/gc.js';
import type { GcResult } from '../../layout/gc/gc-result.js';
import { updateIndex } from '../../layout/index/index-file.js';
import { readIndexOrNone } from '../../layout/index/index-read.js';
import { entryKey, type LayoutIndex } from '../../layout/index/index-json.js';
import { setFileTime } from '../../layout/index/last-used.js';
import { type Layout, openLayout } from '../../layout/layout.js';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { Session, type SessionOptions } from '../../session.js';
import { rewriting } from '../../layout/blobs/lost-blobs.js';
import { contentOf } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { type Document, topOf } from '../../oci/document.js';
import { fitImportLimit, fitSize, type Needs, needsOf, sizeOf } from './budget.js';
import { type DropReason, type TagPolicy, TagRules } from './policy.js';
import { readTagged, type Tagged, type UseSource } from './tagged.js';

export interface PruneOptions extends TagPolicy, Pick<SessionOptions, 'layout' | 'signal'> {
  /** What tags need is to have this size at most, in bytes. */
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
  /** What could not be reached without touching what is protected; empty when all is as it was asked for. */
  readonly unmet: readonly string[];
  /** What was freed; for a dry run, what would be. */
  readonly collected: GcResult;
}

/**
 * Makes a folder of caches smaller by a policy: drops whole tags by name, age and number; then, where that is not
 * enough for the size, evicts results from the caches that are left, the least recently used first, whole chains at a
 * time, with all keys kept. What became free is collected.
 *
 * @throws CacheError USAGE for a pattern that is none, NOT_FOUND, CORRUPT when anything of it cannot be read (nothing is
 *   changed then), BUSY
 */
export async function prune(folder: string, options: PruneOptions = {}): Promise<PruneResult> {
  checkCall('prune', { folder, options });
  const rules = new TagRules(options);
  return abortable(options.signal, async () => {
    await using session = new Session(options);
    await using layout = await openLayout(folder, session.layout);
    return await new Pruning(layout, rules, options).run();
  });
}

/** A cache that is to be replaced by a smaller one. */
interface Shrinking {
  readonly before: Tagged;
  readonly graph: Graph;
  readonly saved: SavedCache;
  readonly reason: ShrunkTag['reason'];
}

class Pruning {
  readonly #layout: Layout;
  readonly #rules: TagRules;
  readonly #options: PruneOptions;
  readonly #sizes = new Map<Digest, number>();
  readonly #unmet: string[] = [];

  constructor(layout: Layout, rules: TagRules, options: PruneOptions) {
    this.#layout = layout;
    this.#rules = rules;
    this.#options = options;
  }

  async run(): Promise<PruneResult> {
    const { signal, dryRun = false } = this.#options;
    const index = await readIndexOrNone(this.#layout, signal);
    for await (const { digest, stats } of listBlobs(this.#layout.root)) if (digest) this.#sizes.set(digest, stats.size);
    const tagged = await readTagged(this.#layout, index.manifests, this.#sizes, signal);
    const dropped = this.#rules.dropped(tagged, Date.now());
    const kept = tagged.filter((one) => !dropped.has(one));
    const shrinking = this.#shrink(kept);
    const change = (before: LayoutIndex) => withChanges(before, [...dropped.keys()], shrinking);
    const documents = shrinking.flatMap(({ saved }) => saved.documents);
    if (!dryRun) await this.#apply(shrinking, change);
    const needs = tagged.map((one) => one.needs);
    const former = new Set(needs.flatMap((some) => [...some.keys()]));
    const planned = dryRun ? { manifests: change(index).manifests, documents } : undefined;
    const { grace } = this.#options;
    return {
      dropped: Array.from(dropped, ([{ names, entry, lastUsed, lastUsedBy }, reason]) => ({
        tag: names[0] ?? '',
        digest: entry.digest,
        reason,
        lastUsed: new Date(lastUsed).toISOString(),
        lastUsedBy,
      })),
      shrunk: shrinking.map(({ before: { names, entry, cache }, graph, saved, reason }) => ({
        tag: names[0],
        from: entry.digest,
        to: topOf(saved.documents).descriptor.digest,
        reason,
        resultsBefore: cache?.graph.records.filter(hasResults).length ?? 0,
        results: graph.records.filter(hasResults).length,
      })),
      sizeBefore: sizeOf(needs),
      size: sizeOf(this.#needsAfter(kept, shrinking)),
      unmet: this.#unmet,
      collected: await gc(this.#layout, { former, grace, dryRun, planned, signal }),
    };
  }

  #shrink(kept: readonly Tagged[]): Shrinking[] {
    const open = kept.filter((one) => one.names.length > 0 && !this.#rules.protects(one) && one.cache !== undefined);
    const fitted = this.#options.fitImportLimit === true ? this.#fitImportLimit(kept, open) : [];
    return this.#options.maxSize === undefined ? fitted : this.#fitSize(kept, open, fitted, this.#options.maxSize);
  }

  #fitImportLimit(kept: readonly Tagged[], open: readonly Tagged[]): Shrinking[] {
    const shrinking: Shrinking[] = [];
    for (const before of kept) {
      if (before.cache === undefined) continue;
      const { graph, saved } = before.cache;
      if (oversized(saved).length === 0) continue;
      const [name = before.entry.digest] = before.names;
      if (!open.includes(before)) {
        this.#unmet.push(`${name} is over the import limit, and protected`);
        continue;
      }
      const { value, fits } = fitImportLimit({ graph, lastUsed: before.recorded }, saved);
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
      const needs = smaller === undefined ? before.needs : needsOf(smaller, this.#sizes);
      return { before, graph: cache.graph, saved: cache.saved, lastUsed: before.recorded, needs };
    });
    const touched = new Set(caches.map(({ before }) => before));
    const closed = kept.filter((one) => !touched.has(one)).flatMap((one) => [...one.needs]);
    const { value, fits } = fitSize(caches, new Map(closed), this.#sizes, limit);
    if (!fits) this.#unmet.push(`${limit} bytes: what is left is protected, or is no result of a cache`);
    for (const [index, { before, graph }] of caches.entries()) {
      const now = value[index];
      if (now === undefined || now.graph === graph) continue;
      shrunk.set(before, { before, ...now, reason: shrunk.get(before)?.reason ?? 'max-size' });
    }
    return [...shrunk.values()];
  }

  #needsAfter(kept: readonly Tagged[], shrinking: readonly Shrinking[]): Needs[] {
    const smaller = new Map(shrinking.map((one) => [one.before, one]));
    return kept.map((one) => {
      const cache = smaller.get(one);
      return cache === undefined ? one.needs : needsOf(cache, this.#sizes);
    });
  }

  /** Writes the documents of the smaller caches, and then all changes of the index as one. */
  async #apply(shrinking: readonly Shrinking[], change: (index: LayoutIndex) => LayoutIndex): Promise<void> {
    await using leased = new LeasedBlobs(this.#layout);
    const { signal } = this.#options;
    const uses = new Map<Digest, number>();
    await rewriting(async () => {
      for (const { saved, before } of shrinking) {
        const top = topOf(saved.documents);
        for (const document of saved.documents) {
          const isNew = await this.#write(document, leased);
          // A cache is not younger after it was made smaller.
          if (isNew && document === top) uses.set(top.descriptor.digest, before.lastUsed);
        }
      }
      await leased.sync();
      await updateIndex(this.#layout, change, { leased, signal });
    });
    for (const [digest, time] of uses) await setFileTime(this.#layout.blobs.path(digest), time);
  }

  /** @returns whether the document was not there before */
  async #write({ descriptor, bytes }: Document, leased: LeasedBlobs): Promise<boolean> {
    const { signal } = this.#options;
    if (await leased.has(descriptor, signal)) return false;
    await leased.write(contentOf(bytes), descriptor, {
      where: this.#layout.root,
      sharing: 'copy',
      ...(signal === undefined ? {} : { signal }),
    });
    return true;
  }
}

/** What somebody has written or used since it was read stays as it is. */
function withChanges(index: LayoutIndex, dropping: readonly Tagged[], shrinking: readonly Shrinking[]): LayoutIndex {
  if (dropping.length + shrinking.length === 0) return index;
  const goes = new Set(dropping.map(({ entry }) => entryKey(entry)));
  const smaller = new Map(shrinking.map((one) => [entryKey(one.before.entry), smallerEntry(one)]));
  const manifests = index.manifests.flatMap((entry) => {
    const key = entryKey(entry);
    return goes.has(key) ? [] : (smaller.get(key) ?? entry);
  });
  return { ...index, manifests };
}

function smallerEntry({ before: { entry }, saved }: Shrinking): Descriptor {
  return { ...entry, ...topOf(saved.documents).descriptor };
}
