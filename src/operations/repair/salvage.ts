import { join } from 'node:path';
import { listBlobs } from '../../layout/blobs/blob-list.js';
import { type BrokenIndex, brokenIndex } from '../../layout/index/broken-index.js';
import { exists } from '../../layout/files/durable.js';
import { indexPath } from '../../layout/index/index-read.js';
import { decodeIndex, type LayoutIndex } from '../../layout/index/index-json.js';
import type { Layout } from '../../layout/layout.js';
import { untaggedManifests } from '../../layout/gc/untagged-manifests.js';
import { readWhole } from '../../oci/content.js';
import { type Descriptor, REF_NAME } from '../../oci/descriptor.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { decodeManifest } from '../../oci/manifest.js';
import { contentsOf } from '../../oci/successors.js';

/** What can be made of an index.json that is missing or no JSON any more. */
export interface Salvaged {
  readonly broken: BrokenIndex;
  readonly index: LayoutIndex;
  /** Manifests of caches that no entry leads to, since their tags are lost; older ones that were replaced among them. */
  readonly nameless: readonly Descriptor[];
}

// An entry as BuildKit and bkcache write it, or with spaces.
const ENTRY =
  /\{\s*"mediaType":\s*"[^"]*",\s*"digest":\s*"sha256:[0-9a-f]{64}",\s*"size":\s*\d+,\s*"annotations":\s*\{(?:\s*"[^"]*":\s*"[^"]*",?)+\s*\}\s*\}/g;

/**
 * Reads from a broken index the entries that are whole, and finds the manifests of caches among the blobs. Where there
 * is no entry, and one such manifest, that is `latest`; of several it is not known which one was which.
 *
 * @returns undefined when index.json can be read, and where there are no blobs
 * @throws CacheError BUSY, and what `brokenIndex` throws
 */
export async function salvageIndex(layout: Layout, signal?: AbortSignal): Promise<Salvaged | undefined> {
  if (!(await exists(join(layout.root, 'blobs')))) return undefined;
  const broken = await brokenIndex(layout, signal);
  if (broken === undefined) return undefined;
  const path = indexPath(layout);
  const text = broken.bytes?.toString() ?? '';
  const manifests = [...text.matchAll(ENTRY)].flatMap(([entry]) => {
    try {
      return decodeIndex(Buffer.from(`{"manifests":[${entry}]}`), path).manifests;
    } catch {
      return [];
    }
  });
  const known = new Set(manifests.map(({ digest }) => digest));
  const nameless = (await cacheManifests(layout, signal)).filter(({ digest }) => !known.has(digest));
  // A first export that was cut short: there is nothing to find, and nothing wrong.
  if (broken.bytes === undefined && nameless.length === 0 && !(await exists(path))) return undefined;
  const [only, ...others] = nameless;
  if (manifests.length === 0 && only !== undefined) {
    const entries = others.length === 0 ? [{ ...only, annotations: { [REF_NAME]: 'latest' } }] : nameless;
    return { broken, index: { manifests: entries }, nameless: others.length === 0 ? [] : nameless };
  }
  return { broken, index: { manifests }, nameless };
}

/**
 * The one manifest of a cache that no entry names; undefined where there are none or several. Of a build with several
 * exports BuildKit writes the name of the last one into all folders (solver/llbsolver/export.go), so that the manifest of a
 * folder is there and its name is not.
 */
export async function onlyNameless(
  layout: Layout,
  entries: readonly Descriptor[],
  signal?: AbortSignal,
): Promise<Descriptor | undefined> {
  const named = new Set(entries.map(({ digest }) => digest));
  const [only, ...others] = (await cacheManifests(layout, signal)).filter(({ digest }) => !named.has(digest));
  return others.length === 0 ? only : undefined;
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
