import { readImport } from '../backend/import-string.js';
import { openRepository, openSource } from '../backend/open.js';
import { formatOptions } from '../buildkit/options.js';
import { CacheError } from '../errors.js';
import type { LayoutSettings } from '../layout/layout.js';
import type { Registries } from '../net/registries.js';
import type { Content } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';

/** Somewhere to fetch good blobs from. */
export interface BlobSource {
  readonly name: string;
  /** A blob's bytes, unverified; reading them throws when they are not there. Undefined when that is known already. */
  readonly content: (blob: BlobId) => Content | undefined;
}

/**
 * What the import strings lead to. From a folder or registry any blob can be had, elsewhere those of the cache.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function openSources(
  texts: readonly string[],
  registries: Registries,
  layout: Partial<LayoutSettings> | undefined,
  signal: AbortSignal | undefined,
): Promise<BlobSource[]> {
  const sources: BlobSource[] = [];
  for (const text of texts) {
    const options = await readImport(text);
    const name = formatOptions(options);
    try {
      const repository = await openRepository(options, registries, layout);
      sources.push({ name, content: (blob) => repository.blob(blob) });
    } catch (error) {
      // Not a repository, but perhaps a cache.
      if (!(error instanceof CacheError) || error.code !== 'USAGE') throw error;
      const cache = await (await openSource(options, registries, layout)).load(signal);
      sources.push({
        name,
        content: (blob) => (cache.graph.descriptors.has(blob.digest) ? cache.blob(blob) : undefined),
      });
    }
  }
  return sources;
}
