import type { CacheStore, Changes, GcResult } from '../../src/backend/cache-store.js';
import { CacheError } from '../../src/errors.js';
import { type Content, contentOf } from '../../src/oci/content.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import type { Digest } from '../../src/oci/digest.js';
import { successorsIn } from '../../src/oci/successors.js';

/** A place for caches in memory. */
export interface MemoryPlace {
  readonly blobs: Map<Digest, Buffer>;
  /** What the names stand for; the same map as that of the blobs where documents are blobs. */
  readonly documents: Map<Digest, Buffer>;
  readonly names: Map<string, Descriptor>;
  /** Whether its caches have no manifest. */
  readonly isBare: boolean;
}

/** All that a store can do but repair, in a place that has neither files nor locks. */
export function memoryStore(name: string, place: MemoryPlace): CacheStore {
  const { blobs, documents, names, isBare } = place;
  const entries = () => Array.from(names, ([tag, descriptor]) => ({ names: [tag], descriptor, isBare }));
  return {
    name,
    manifest: ({ digest }) => contentIn(name, documents, digest),
    blob: ({ digest }) => contentIn(name, blobs, digest),
    entries: () => Promise.resolve(entries()),
    async *blobs() {
      for (const [digest, bytes] of blobs) yield Promise.resolve({ digest, size: bytes.length, at: digest });
    },
    needs: (list) => Promise.resolve(list.map(({ descriptor }) => needsOf(documents, descriptor.digest))),
    remedy: () => ({}),
    change: (changes) => Promise.resolve(change(place, changes)),
    gc({ dryRun = false, planned = { entries: [], documents: [] } }) {
      const after: MemoryPlace = { ...place, documents: new Map(documents), names: new Map(names) };
      change(after, planned);
      return Promise.resolve(gc(place, after, dryRun));
    },
    remove(list) {
      const missing = list.find((tag) => !names.has(tag));
      if (missing !== undefined) throw new CacheError('NOT_FOUND', `${name} has no name ${missing}`);
      for (const tag of list) names.delete(tag);
      return Promise.resolve();
    },
    instead: { repair: 'export the caches again' },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function contentIn(where: string, blobs: ReadonlyMap<Digest, Buffer>, digest: Digest): Content {
  const bytes = blobs.get(digest);
  if (bytes !== undefined) return contentOf(bytes);
  return {
    open() {
      throw new CacheError('CORRUPT', `${where}: blob ${digest} is missing`, { wrong: 'missing' });
    },
  };
}

function needsOf(documents: ReadonlyMap<Digest, Buffer>, top: Digest): Set<Digest> {
  const needs = new Set([top]);
  for (const digest of needs) {
    const bytes = documents.get(digest);
    if (bytes === undefined || bytes[0] !== '{'.charCodeAt(0)) continue;
    for (const successor of successorsIn(bytes)) needs.add(successor.digest);
  }
  return needs;
}

function change({ documents, names }: MemoryPlace, changes: Changes): void {
  for (const { descriptor, bytes } of changes.documents) documents.set(descriptor.digest, Buffer.from(bytes));
  for (const { entry, to } of changes.entries) {
    const [tag = ''] = entry.names;
    if (names.get(tag)?.digest !== entry.descriptor.digest) continue;
    if (to === undefined) names.delete(tag);
    else names.set(tag, to);
  }
}

function gc({ blobs, documents }: MemoryPlace, after: MemoryPlace, dryRun: boolean): GcResult {
  const tags = Array.from(after.names, ([tag, { digest }]) => ({
    tag,
    digest,
    needs: needsOf(after.documents, digest),
  }));
  const live = new Set(tags.flatMap(({ needs }) => [...needs]));
  const size = (digests: Iterable<Digest>) => {
    const sizes = Array.from(digests, (digest) => blobs.get(digest)?.length ?? 0);
    return { count: sizes.length, bytes: sizes.reduce((sum, one) => sum + one, 0) };
  };
  const garbage = [...blobs.keys()].filter((digest) => !live.has(digest));
  const removed = size(garbage);
  if (!dryRun) for (const digest of garbage) blobs.delete(digest);
  if (!dryRun) for (const digest of documents.keys()) if (!live.has(digest)) documents.delete(digest);
  const none = { count: 0, bytes: 0 };
  return {
    removed,
    setAside: none,
    putBack: none,
    young: none,
    leftovers: none,
    live: size([...live].filter((digest) => blobs.has(digest))),
    tags: tags.map(({ tag, digest, needs }) => {
      const { bytes: total } = size(needs);
      return { tag, digest, total, shared: 0, exclusive: total };
    }),
    paths: garbage,
  };
}
