import type { Side } from '../../errors.js';
import type { RegistryClient } from '../../net/registry/registry-client.js';
import type { RegistryRequest } from '../../net/registry/registry-request.js';

/** One repository of a registry, on one side of a copy. */
export interface RegistryPlace {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly side: Side;
}

/** For messages. */
export function nameOf({ client, repository }: RegistryPlace): string {
  return `${client.registry}/${repository}`;
}

/** The fields that every request to a repository has: distribution.github.io, spec/auth/scope. */
export function requestTo(
  { repository, side }: RegistryPlace,
  path: string,
): Pick<RegistryRequest, 'repository' | 'scopes' | 'side'> & { readonly target: string } {
  const actions = side === 'import' ? 'pull' : 'pull,push';
  return { repository, target: `/v2/${repository}/${path}`, scopes: [`repository:${repository}:${actions}`], side };
}
