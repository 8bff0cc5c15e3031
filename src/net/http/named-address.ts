import { CacheError } from '../../errors.js';

/** How much of an address a message shows, in characters. */
const SHOWN = 100;

/**
 * The URL that a server names in a Location or Link header, or as its token server. A relative URL is completed.
 *
 * Registries behind a proxy that ends TLS tend to name themselves with http, or without their port: a URL with the same
 * host name gets the scheme and port of `from`.
 *
 * @param from - the URL of the response
 * @param allowPlain - whether https may lead to http
 * @throws CacheError UNREACHABLE for a text that is no HTTP URL, DENIED for a URL that gives up TLS
 */
export function namedAddress(text: string, from: URL, { allowPlain }: { readonly allowPlain: boolean }): URL {
  let url: URL;
  try {
    url = new URL(text, from);
  } catch {
    throw new CacheError('UNREACHABLE', `it names ${shown(text)} as the next address, which is not a URL`);
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new CacheError('UNREACHABLE', `it names ${shown(text)} as the next address, which is not an HTTP URL`);
  }
  if (url.protocol === 'https:' || from.protocol === 'http:') return url;
  if (url.hostname === from.hostname) return new URL(`${url.pathname}${url.search}`, from);
  if (allowPlain) return url;
  throw new CacheError('DENIED', `it leads from https to ${url.origin}, without encryption`, {
    hint: 'registry.insecure=true allows that',
  });
}

/** Whether two URLs belong to one service, so that credentials for `one` may be sent to `other`. */
export function isSameService(one: URL, other: URL): boolean {
  if (one.origin === other.origin) return true;
  // An upgrade from HTTP to TLS on the same host, each at its default port.
  const isUpgrade = one.protocol === 'http:' && other.protocol === 'https:';
  return isUpgrade && one.hostname === other.hostname && (one.host === other.host || one.port + other.port === '');
}

/** A URL for messages, without user, password and query, which may be secret. */
function shown(text: string): string {
  const bare = text.replace(/[?#].*$/s, '').replace(/\/\/[^/]*@/, '//');
  return JSON.stringify(bare.length > SHOWN ? `${bare.slice(0, SHOWN)}…` : bare);
}
