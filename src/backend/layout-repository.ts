import { CacheError } from '../errors.js';
import { findTag, readIndex, tagOf, updateIndex, withTag } from '../layout/index-file.js';
import type { Layout } from '../layout/layout.js';
import type { Sharing } from '../layout/share.js';
import { contentOf, readWhole } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { JSON_LIMIT } from '../oci/json.js';
import { decodeManifest } from '../oci/manifest.js';
import type { Repository, RepositoryReader } from './repository.js';

/** A layout on disk as a repository to read from. */
export function layoutReader(layout: Layout): RepositoryReader {
  const { root, blobs } = layout;
  return {
    name: root,
    resolve: async (reference, signal) =>
      'tag' in reference ? resolveTag(root, reference.tag, signal) : resolveDigest(layout, reference.digest, signal),
    async entries(signal) {
      const { manifests } = await readIndex(root, signal);
      return manifests.map((descriptor) => ({ tag: tagOf(descriptor), descriptor }));
    },
    manifest: ({ digest }) => blobs.content(digest),
    blob: ({ digest }) => blobs.content(digest),
  };
}

/** A layout on disk as a repository to write to. */
export function layoutRepository(layout: Layout, sharing: Sharing): Repository {
  const { root, blobs } = layout;
  const write: Repository['write'] = (content, expected, signal) =>
    blobs.write(content, expected, { where: content.path ?? root, sharing, ...(signal ? { signal } : {}) });
  return {
    ...layoutReader(layout),
    has: (blob) => blobs.has(blob),
    write,
    async publish({ descriptor, bytes }, tag, signal) {
      if (!(await blobs.has(descriptor))) await write(contentOf(bytes), descriptor, signal);
      if (tag !== undefined) await updateIndex(root, (index) => withTag(index, tag, descriptor), signal);
    },
    close: () => blobs.close(),
  };
}

async function resolveTag(root: string, tag: string, signal?: AbortSignal): Promise<Descriptor> {
  const index = await readIndex(root, signal);
  const found = findTag(index, tag);
  if (found !== undefined) return found;
  const tags = index.manifests.map(tagOf).filter((name) => name !== undefined);
  throw new CacheError('NOT_FOUND', `${root} has no tag ${JSON.stringify(tag)}`, {
    hint: tags.length === 0 ? 'it has no tags at all' : `its tags are: ${tags.join(', ')}`,
  });
}

/** An explicit digest only has to be among the blobs (client/solve.go); its own mediaType says what it is. */
async function resolveDigest({ root, blobs }: Layout, digest: Digest, signal?: AbortSignal): Promise<Descriptor> {
  const size = await blobs.size(digest);
  if (size === undefined) {
    const index = await readIndex(root, signal);
    const known = index.manifests.map((entry) => `${entry.digest} (${tagOf(entry) ?? 'no tag'})`);
    throw new CacheError('NOT_FOUND', `${root} has no blob ${digest}`, {
      hint: known.length === 0 ? 'its index.json lists nothing' : `its index.json lists: ${known.join(', ')}`,
    });
  }
  const bytes = await readWhole(blobs.content(digest), { digest, size }, root, { limit: JSON_LIMIT, signal });
  return { mediaType: decodeManifest(bytes, `${root}: ${digest}`).mediaType, digest, size };
}
