import { join } from 'node:path';
import { listBlobs } from '../../layout/blobs/blob-list.js';
import type { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { exists } from '../../layout/files/durable.js';
import { untaggedManifests } from '../../layout/gc/untagged-manifests.js';
import { brokenIndex, replaceBrokenIndex } from '../../layout/index/broken-index.js';
import { decodeIndex, type LayoutIndex } from '../../layout/index/index-json.js';
import { indexPath } from '../../layout/index/index-read.js';
import type { Layout } from '../../layout/layout.js';
import { readWhole } from '../../oci/content.js';
import { type Descriptor, REF_NAME } from '../../oci/descriptor.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { decodeManifest } from '../../oci/manifest.js';
import { contentsOf } from '../../oci/successors.js';
import type { EntryChange, Salvage, StoreEntry } from '../cache-store.js';
import { entriesOf, withChanges } from './folder-entries.js';

/** What can be made of an index.json that is missing or no JSON any more. */
interface SalvagedIndex extends Omit<Salvage, 'publish'> {
  /**
   * Writes an index with the entries, changed.
   *
   * @returns whether that was done: an index.json that is another one by now, or can be read, stays
   * @throws CacheError BUSY; LostBlobs
   */
  readonly publish: (changes: readonly EntryChange[], leased: LeasedBlobs, signal?: AbortSignal) => Promise<boolean>;
}

// An entry as BuildKit and bkcache write it, or with spaces.
const ENTRY =
  /\{\s*"mediaType":\s*"[^"]*",\s*"digest":\s*"sha256:[0-9a-f]{64}",\s*"size":\s*\d+,\s*"annotations":\s*\{(?:\s*"[^"]*":\s*"[^"]*",?)+\s*\}\s*\}/g;

/**
 * Reads from a broken index the entries that are whole, and finds the manifests of caches among the blobs. If no entry is
 * readable and blobs/ has exactly one manifest of a cache, that manifest is tagged `latest`. If there are several, their
 * tags are lost.
 *
 * @returns undefined when index.json can be read, and where there are no blobs
 * @throws CacheError BUSY, and what `brokenIndex` throws
 */
export async function salvageIndex(layout: Layout, signal?: AbortSignal): Promise<SalvagedIndex | undefined> {
  if (!(await exists(join(layout.root, 'blobs')))) return undefined;
  const broken = await brokenIndex(layout, signal);
  if (broken === undefined) return undefined;
  const path = indexPath(layout);
  const manifests = readableEntries(broken.bytes?.toString() ?? '', path);
  const known = new Set(manifests.map(({ digest }) => digest));
  const nameless = (await cacheManifests(layout, signal)).filter(({ digest }) => !known.has(digest));
  // A first export that was cut short: there is nothing to find, and nothing wrong.
  if (broken.bytes === undefined && nameless.length === 0 && !(await exists(path))) return undefined;
  const salvaged = (entries: readonly Descriptor[], left: readonly Descriptor[]): SalvagedIndex => {
    const index: LayoutIndex = { manifests: entries };
    const publish: SalvagedIndex['publish'] = (changes, leased, inner) =>
      replaceBrokenIndex(layout, broken, withChanges(index, changes), { leased, signal: inner });
    return { entries: entriesOf(index), nameless: left, publish };
  };
  const [only, ...others] = nameless;
  if (manifests.length > 0 || only === undefined) return salvaged(manifests, nameless);
  if (others.length > 0) return salvaged(nameless, nameless);
  return salvaged([{ ...only, annotations: { [REF_NAME]: 'latest' } }], []);
}

function readableEntries(text: string, path: string): readonly Descriptor[] {
  return [...text.matchAll(ENTRY)].flatMap(([entry]) => {
    try {
      return decodeIndex(Buffer.from(`{"manifests":[${entry}]}`), path).manifests;
    } catch {
      return [];
    }
  });
}

/** The manifests of caches that none of the entries names. */
export async function untaggedCaches(
  layout: Layout,
  entries: readonly StoreEntry[],
  signal?: AbortSignal,
): Promise<Descriptor[]> {
  const named = new Set(entries.map(({ descriptor }) => descriptor.digest));
  return (await cacheManifests(layout, signal)).filter(({ digest }) => !named.has(digest));
}

async function cacheManifests({ root, blobs }: Layout, signal?: AbortSignal): Promise<Descriptor[]> {
  const sizes = new Map();
  for await (const { digest, stats } of listBlobs(root)) {
    if (digest !== undefined && stats.isFile()) sizes.set(digest, { digest, size: stats.size });
  }
  const found: Descriptor[] = [];
  for (const { digest } of await untaggedManifests(blobs, [...sizes.values()], signal)) {
    const blob = sizes.get(digest);
    const bytes = await readWhole(blobs.content(digest), blob, root, { limit: JSON_LIMIT, signal });
    const manifest = decodeManifest(bytes, digest);
    if (contentsOf(manifest).kind === 'cache') found.push({ mediaType: manifest.mediaType, ...blob });
  }
  return found;
}
