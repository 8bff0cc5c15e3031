import { CacheError } from '../../errors.js';

/** The most of an address that is shown, in characters. */
const SHOWN = 100;

/**
 * An address that a server names: in a Location, in a Link, as its token server. Relative ones are completed.
 *
 * Registries behind a proxy that ends TLS tend to name themselves with http, or without their port: an address on the
 * same host is taken to be theirs.
 *
 * @param from - where the answer came from
 * @param allowPlain - whether what came over TLS may go on without
 * @throws CacheError UNREACHABLE when it is no address for HTTP, DENIED when it gives up TLS
 */
export function namedAddress(text: string, from: URL, { allowPlain }: { readonly allowPlain: boolean }): URL {
  let url: URL;
  try {
    url = new URL(text, from);
  } catch {
    throw new CacheError('UNREACHABLE', `it names ${shown(text)} as the place to go on, which is no address`);
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new CacheError('UNREACHABLE', `it names ${shown(text)} as the place to go on, which is not one for HTTP`);
  }
  if (url.protocol === 'https:' || from.protocol === 'http:') return url;
  if (url.hostname === from.hostname) return new URL(`${url.pathname}${url.search}`, from);
  if (allowPlain) return url;
  throw new CacheError('DENIED', `it sends on from https to ${url.origin}, without encryption`, {
    hint: 'registry.insecure=true allows that',
  });
}

/** Whether two addresses are of one service, so that the credentials for one may be sent to the other. */
export function isSameService(one: URL, other: URL): boolean {
  if (one.origin === other.origin) return true;
  // Plain HTTP that leads to TLS on the same host, each at its own port.
  const isUpgrade = one.protocol === 'http:' && other.protocol === 'https:';
  return isUpgrade && one.hostname === other.hostname && (one.host === other.host || one.port + other.port === '');
}

/** Without what may be secret. */
function shown(text: string): string {
  const bare = text.replace(/[?#].*$/s, '').replace(/\/\/[^/]*@/, '//');
  return JSON.stringify(bare.length > SHOWN ? `${bare.slice(0, SHOWN)}…` : bare);
}
