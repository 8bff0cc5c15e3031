import { stat } from 'node:fs/promises';
import { formatOptions } from '../../buildkit/options.js';
import { CacheError, isSystemError } from '../../errors.js';
import { parseDigest } from '../../oci/digest.js';
import type { Session } from '../../session.js';
import type { Backend, Location } from '../backend.js';
import { LATEST, withTagAttribute } from '../local/local.js';
import { realPath } from '../local/real-path.js';
import { repositorySource } from '../repository/repository-source.js';
import type { Repository } from '../repository/repository.js';
import type { Bundle } from './bundle.js';

/** A cache in a bundle: `type=bundle,src=FILE[,digest=…][,tag=…]` and `type=bundle,dest=FILE[,tag=…]`. */
export const bundleBackend: Backend = {
  async locate(options, side) {
    const { digest, tag = LATEST } = options.attributes;
    const name = options.attributes[side === 'import' ? 'src' : 'dest'] ?? '';
    const path = await realPath(name);
    const key = digest === undefined ? `${path}, tag ${tag}` : undefined;
    return { options, name, selection: digest ?? tag, key, path };
  },
  async source(at, session) {
    const { digest, tag = LATEST } = at.options.attributes;
    const reference = digest === undefined ? { tag } : { digest: parseDigest(digest, 'digest=') };
    const { bundleReader } = await import('./bundle-reader.js');
    return repositorySource(at.name, async () => bundleReader(await sharedBundle(at, session)), reference, session);
  },
  async reader(at, session) {
    const { bundleReader } = await import('./bundle-reader.js');
    return bundleReader(await sharedBundle(at, session));
  },
  repository: openRepository,
  async target(at, session, settings) {
    const { repositoryTarget } = await import('../repository/repository-target.js');
    return repositoryTarget(await openRepository(at, session), at.options.attributes['tag'] ?? LATEST, settings);
  },
  tagged: withTagAttribute,
  async store(at, session) {
    const { bundleStore } = await import('./bundle-store.js');
    return bundleStore(await sharedBundle(at, session));
  },
};

/** The export string of a bundle that goes to a stream, and to no file. */
export function exportToStream(given: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const attributes: Record<string, string> = { dest: '-' };
  for (const [name, value] of Object.entries(given)) if (value !== undefined) attributes[name] = String(value);
  return formatOptions({ type: 'bundle', attributes });
}

async function openRepository({ name, path = name }: Location, session: Session): Promise<Repository> {
  if (session.layout.heal) {
    throw new CacheError('USAGE', '--heal replaces blobs in folders, and a bundle is always written whole', {
      hint: 'leave --heal out: a damaged blob of the bundle is an error, and then pack the bundle again',
      side: 'export',
    });
  }
  const [{ refusePlace }, { Bundle }, { BundleRepository }] = await Promise.all([
    import('./bundle-output.js'),
    import('./bundle.js'),
    import('./bundle-repository.js'),
  ]);
  await refusePlace(path);
  const old = (await isThere(path)) ? await Bundle.open([path], name, session.signal) : undefined;
  return new BundleRepository(name, path, old, session.layout);
}

/** A bundle that is opened once in a session, and closed at its end. */
async function sharedBundle({ name, path = name }: Location, session: Session): Promise<Bundle> {
  return session.once(`bundle ${path}`, async () => {
    const [{ Bundle }, { filesOf }] = await Promise.all([import('./bundle.js'), import('./parts.js')]);
    return Bundle.open(await filesOf([name]), name, session.signal);
  });
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}
