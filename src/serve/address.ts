import { isIP } from 'node:net';
import { CacheError } from '../errors.js';
import { isLoopback } from '../oci/reference.js';

/** Where a server listens. */
export interface ListenAddress {
  /** A name, or an IP address without brackets. */
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
}

/**
 * Reads `HOST:PORT`, `[::1]:PORT` or `:PORT`, which is every address of the machine.
 *
 * @throws CacheError USAGE
 */
export function parseListen(text: string, option: string): ListenAddress {
  const [, bracketed, plain = '', digits = ''] = /^(?:\[([^\]]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? (plain === '' ? '::' : plain);
  const port = Number(digits);
  const isHost = bracketed === undefined ? isIP(host) > 0 || /^[a-z0-9.-]+$/i.test(host) : isIP(host) === 6;
  if (digits !== '' && port <= 65_535 && isHost) return { host, port };
  throw new CacheError('USAGE', `${option} takes an address such as 127.0.0.1:5000, not ${JSON.stringify(text)}`, {
    hint: 'write HOST:PORT, [::1]:PORT, or :PORT for every address of this machine',
  });
}

/**
 * Reads the address that clients see.
 *
 * @throws CacheError USAGE for what is no origin of HTTP
 */
export function parseOrigin(text: string, option: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isOrigin =
    url !== undefined &&
    ['http:', 'https:'].includes(url.protocol) &&
    [url.pathname, url.search, url.hash, url.username, url.password].join('') === '/';
  if (isOrigin && !isEverywhere(url.hostname.replace(/^\[|\]$/g, ''))) return url;
  throw new CacheError(
    'USAGE',
    `${option} takes an address such as https://cache.example, not ${JSON.stringify(text)}`,
    {
      hint: 'it is the scheme, the host and the port that clients use, without a path',
    },
  );
}

/** Whether nobody but this machine can reach an address. */
export function isLocal({ host }: Pick<ListenAddress, 'host'>): boolean {
  return isLoopback(isIP(host) === 6 ? `[${host}]` : host);
}

function isEverywhere(host: string): boolean {
  return host === '0.0.0.0' || /^[0:]+$/.test(host);
}

/** A URL for people and tests: an address of this machine in the place of "every address". */
export function originOf({ host, port }: ListenAddress, scheme: string): string {
  const name = isEverywhere(host) ? 'localhost' : host;
  return `${scheme}://${isIP(name) === 6 ? `[${name}]` : name}:${port}`;
}

/**
 * Whether a Host header names this machine. A page in a browser of this machine can have its own name lead here (DNS
 * rebinding), and its requests have that name.
 */
export function isLocalHost(header: string | undefined): boolean {
  return isLoopback((header ?? '').toLowerCase());
}
