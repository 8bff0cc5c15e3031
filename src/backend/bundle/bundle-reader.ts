import { CacheError } from '../../errors.js';
import { namesOf } from '../../layout/index/index-json.js';
import { readWhole } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { mediaTypeOf, notAManifest, resolveTag } from '../repository/resolve.js';
import type { RepositoryReader } from '../repository/repository.js';
import type { Bundle } from './bundle.js';

/** A bundle as a repository to read from. */
export function bundleReader(bundle: Bundle): RepositoryReader {
  const { name, index } = bundle;
  return {
    name,
    resolve: async (reference, signal) =>
      'tag' in reference
        ? Promise.resolve(resolveTag(name, index, reference.tag))
        : resolveDigest(bundle, reference.digest, signal),
    entries: () =>
      Promise.resolve(
        index.manifests.flatMap((descriptor) => {
          const names = namesOf(descriptor);
          return (names.length === 0 ? [undefined] : names).map((tag) => ({ tag, descriptor }));
        }),
      ),
    manifest: (descriptor) => bundle.content(descriptor),
    blob: (blob) => bundle.content(blob),
  };
}

async function resolveDigest(bundle: Bundle, digest: Digest, signal: AbortSignal | undefined): Promise<Descriptor> {
  const { name, index } = bundle;
  const size = bundle.sizeOf(digest);
  if (size === undefined) {
    const known = index.manifests.map((entry) => `${entry.digest} (${namesOf(entry)[0] ?? 'no tag'})`);
    throw new CacheError('NOT_FOUND', `${name} has no blob ${digest}`, {
      hint: known.length === 0 ? 'its index.json lists nothing' : `its index.json lists: ${known.join(', ')}`,
    });
  }
  if (size > JSON_LIMIT) throw notAManifest(name, digest);
  const bytes = await readWhole(bundle.content({ digest }), { digest, size }, name, { limit: JSON_LIMIT, signal });
  return { mediaType: mediaTypeOf(bytes, name, digest), digest, size };
}
