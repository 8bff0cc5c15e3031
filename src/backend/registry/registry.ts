import { type CacheOptions, flag } from '../../buildkit/options.js';
import type { Side } from '../../errors.js';
import type { Registries } from '../../net/registry/registries.js';
import { type ImageReference, parseReference } from '../../oci/reference.js';
import type { CacheSource, CacheTarget, TargetSettings } from '../backend.js';
import { exportTag } from './export-tag.js';
import { registryRepository } from './registry-repository.js';
import type { Reference, Repository } from '../repository/repository.js';
import { repositorySource } from '../repository/repository-source.js';
import { repositoryTarget } from '../repository/repository-target.js';

/** Docker's default tag. */
const LATEST = 'latest';

/** A cache in a registry: `type=registry,ref=…`. */
export async function registrySource(options: CacheOptions, registries: Registries): Promise<CacheSource> {
  const reference = parseReference(options.attributes['ref'] ?? '');
  const repository = await registryRepositoryOf(options, registries, 'import');
  return repositorySource(repository.name, () => Promise.resolve(repository), selected(reference));
}

/** A tag in a registry to export to: `type=registry,ref=…`. */
export async function registryTarget(
  options: CacheOptions,
  registries: Registries,
  settings: TargetSettings,
): Promise<CacheTarget> {
  const tag = exportTag(options.attributes['ref'] ?? '');
  return repositoryTarget(await registryRepositoryOf(options, registries, 'export'), tag, settings);
}

/** The repository that `ref=` names, whatever tag or digest it selects there. */
export async function registryRepositoryOf(
  options: CacheOptions,
  registries: Registries,
  side: Side,
): Promise<Repository> {
  const { registry, repository } = parseReference(options.attributes['ref'] ?? '');
  const insecure = flag(options, 'registry.insecure') ?? false;
  return registryRepository({ client: await registries.client(registry, { insecure }), repository, side });
}

/** A digest comes before a tag, as in Docker. */
function selected({ digest, tag = LATEST }: ImageReference): Reference {
  return digest === undefined ? { tag } : { digest };
}
