import type { Cache } from '../../backend/backend.js';
import { locate, openSource } from '../../backend/backends.js';
import { readImport } from '../../backend/option-string.js';
import type { LayerBlob } from '../../codec/layer-files.js';
import { CacheError } from '../../errors.js';
import { blobsOf } from '../../graph/graph.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { type Digest, splitDigest } from '../../oci/digest.js';
import type { Session } from '../../session.js';

/** Characters of a digest that select a layer: as many as `inspect` prints. */
const SHORT = /^(?:sha256:)?[0-9a-f]{12,64}$/;

/**
 * Opens a cache for reading its layers; gc keeps them until the session ends.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function openCache(text: string, session: Session): Promise<Cache> {
  const options = await readImport(text, (note) => session.note(note));
  const source = await openSource(await locate(options, 'import', session), session);
  return source.lease === undefined ? source.load(session.signal) : source.lease(session.signal);
}

/** A layer of a cache to read. */
export function layerBlob(cache: Cache, descriptor: Descriptor): LayerBlob {
  const where = `${cache.name}: layer ${splitDigest(descriptor.digest)[1].slice(0, 12)}`;
  return { content: cache.blob(descriptor), descriptor, where };
}

/**
 * The layers of a cache, or those of them that were asked for.
 *
 * @param wanted - digests, or their first 12 characters or more
 * @throws CacheError NOT_FOUND
 */
export function layersToRead(cache: Cache, wanted: readonly string[] | undefined): readonly Descriptor[] {
  const all = blobsOf(cache.graph);
  if (wanted === undefined || wanted.length === 0) return all;
  const digests = all.map(({ digest }) => digest);
  const found = new Set(wanted.map((text) => findDigest(text, digests) ?? text));
  for (const text of found) {
    if (digests.some((digest) => digest === text)) continue;
    throw new CacheError('NOT_FOUND', `${cache.name} has no layer ${text}`, {
      hint: '"bkcache inspect" shows its layers; 12 characters of a digest are enough',
      side: 'import',
    });
  }
  return all.filter(({ digest }) => found.has(digest));
}

/**
 * The digest that a text names: the whole digest, or 12 and more characters that only one digest begins with.
 *
 * @throws CacheError USAGE for characters that several digests begin with
 */
export function findDigest(text: string, digests: readonly Digest[]): Digest | undefined {
  const exact = digests.find((digest) => digest === text);
  if (exact !== undefined || !SHORT.test(text)) return exact;
  const start = text.replace(/^sha256:/, '');
  const found = digests.filter((digest) => splitDigest(digest)[1].startsWith(start));
  if (found.length > 1) throw new CacheError('USAGE', `${text} is the start of ${found.length} digests`);
  return found[0];
}
