import { flag } from '../../buildkit/options.js';
import { CacheError, type Side } from '../../errors.js';
import { parseReference } from '../../oci/reference.js';
import type { Session } from '../../session.js';
import type { Backend, Location } from '../backend.js';
import type { Repository } from '../repository/repository.js';
import { repositorySource } from '../repository/repository-source.js';
import { exportTag } from './export-tag.js';
import type { RegistryPlace } from './registry-place.js';

/** Docker's default tag. */
const LATEST = 'latest';

/** A cache in a registry: `type=registry,ref=…`. */
export const registryBackend: Backend = {
  async locate(options, side) {
    const name = options.attributes['ref'] ?? '';
    const { registry: service, repository, tag = LATEST, digest } = parseReference(name);
    if (side === 'export') exportTag(name);
    const key = digest === undefined ? `${service}/${repository}:${tag}` : undefined;
    return { options, name, selection: name, key, service };
  },
  async source(at, session) {
    const { digest, tag = LATEST } = parseReference(at.name);
    const repository = await openRegistryRepository(at, session, 'import');
    // A digest takes precedence over a tag, as in Docker.
    const reference = digest === undefined ? { tag } : { digest };
    return repositorySource(repository.name, () => Promise.resolve(repository), reference, session);
  },
  async target(at, session, settings) {
    const repository = await openRegistryRepository(at, session, 'export');
    const { repositoryTarget } = await import('../repository/repository-target.js');
    return repositoryTarget(repository, exportTag(at.name), settings);
  },
  reader: (at, session) => openRegistryRepository(at, session, 'import'),
  repository: (at, session) => openRegistryRepository(at, session, 'export'),
  tagged(options, tag) {
    const { ref = '' } = options.attributes;
    const { registry, repository, tag: named } = parseReference(ref);
    if (named !== undefined) return options;
    return { ...options, attributes: { ...options.attributes, ref: `${registry}/${repository}:${tag}` } };
  },
  async store(at, session) {
    const { registryStore } = await import('./registry-store.js');
    return registryStore(await registryPlace(at, session, 'import'), at.options);
  },
};

/**
 * The repository that a reference names.
 *
 * @throws CacheError USAGE for healing it
 */
export async function openRegistryRepository(at: Location, session: Session, side: Side): Promise<Repository> {
  if (side === 'export' && session.layout.heal) {
    throw new CacheError('USAGE', '--heal replaces blobs in folders, and a registry keeps what it has under a digest', {
      hint: 'leave --heal out; a damaged blob has to be deleted in the registry before it can be sent again',
      side: 'export',
    });
  }
  const { registryRepository } = await import('./registry-repository.js');
  return registryRepository(await registryPlace(at, session, side));
}

async function registryPlace(at: Location, session: Session, side: Side): Promise<RegistryPlace> {
  const { registry, repository } = parseReference(at.name);
  const insecure = flag(at.options, 'registry.insecure') ?? false;
  // The HTTP modules are loaded at first use, since most caches are in folders.
  const { registryClient } = await import('./session-client.js');
  return { client: await registryClient(registry, { side, insecure }, session), repository, side };
}
