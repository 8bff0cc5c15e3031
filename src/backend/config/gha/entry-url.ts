import { CacheError } from '../../../errors.js';
import { namedAddress } from '../../../net/http/named-address.js';
import type { GhaConnection } from './gha-connection.js';

/**
 * An address with which the service lets read or write one entry. Its query is a secret.
 *
 * @throws CacheError UNREACHABLE for a text that is no address; DENIED for one that gives up TLS
 */
export function entryUrl({ name, secrets, side }: GhaConnection, base: URL, text: string): URL {
  try {
    const url = namedAddress(text, base, { allowPlain: false });
    secrets.add(url.search.slice(1));
    secrets.add(url.searchParams.get('sig') ?? undefined);
    return url;
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    throw new CacheError(error.code, `${name}: ${error.message}`, { side });
  }
}
