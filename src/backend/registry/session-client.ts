import type { Side } from '../../errors.js';
import { dockerCredentials } from '../../net/registry/docker-credentials.js';
import { RegistryClient } from '../../net/registry/registry-client.js';
import type { Session } from '../../session.js';

/**
 * The client of a registry in a session. Both sides of a copy share the client, with its tokens and what it has found out
 * of the registry, unless the sides were given credentials of their own.
 *
 * @throws CacheError USAGE for a second registry where credentials were given for one
 */
export function registryClient(
  registry: string,
  { side, insecure }: { readonly side: Side; readonly insecure: boolean },
  session: Session,
): Promise<RegistryClient> {
  const given = session.credentials(registry, side);
  return session.once(`registry ${registry} ${insecure} ${given?.of ?? ''}`, async () => {
    const http = await session.http({ verify: !insecure });
    const lookUp =
      given === undefined
        ? (signal: AbortSignal) => dockerCredentials(registry, process.env, signal)
        : () => Promise.resolve({ credentials: { username: given.username, password: given.password } });
    return new RegistryClient({ registry, insecure, http, lookUp, policy: session.retryPolicy });
  });
}
