import { BlockList, isIP } from 'node:net';
import { CacheError } from '../../errors.js';
import type { Peer } from './network-error.js';
import { isTransient, TransientError } from './retry.js';

/**
 * The proxy for an address, by the rules of Go's golang.org/x/net/http/httpproxy, which BuildKit and Docker follow:
 * `HTTPS_PROXY` for https, `HTTP_PROXY` for http, none for this machine and the hosts in `NO_PROXY`. A name in `NO_PROXY`
 * includes its subdomains, and an IP range includes its addresses.
 *
 * @throws CacheError USAGE for a proxy that is not an http address
 */
export function proxyFor(url: URL, env: NodeJS.ProcessEnv = process.env): URL | undefined {
  const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const value = env[name] || env[name.toLowerCase()];
  if (value === undefined || value === '' || isExcepted(url, env['NO_PROXY'] || env['no_proxy'] || '')) {
    return undefined;
  }
  // Messages do not show the value, since it may contain a password.
  const proxy = parseUrl(value.includes('://') ? value : `http://${value}`);
  if (proxy !== undefined && /^https?:$/.test(proxy.protocol) && isDecodable(proxy)) return proxy;
  throw new CacheError('USAGE', `${name} is not the address of a proxy that can be used`, {
    hint: 'it looks like http://proxy.example.com:3128, or http://user:password@…, percent-encoded',
  });
}

/** A proxy for messages, without user and password. */
export function proxyPeer({ host }: URL): Peer {
  return { name: `the proxy ${host}`, hint: 'check HTTPS_PROXY and HTTP_PROXY, or name the registry in NO_PROXY' };
}

/** The header with the credentials for a proxy. */
export function proxyAuthorization({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** The error for a proxy that refuses a connection. The proxy's own text is not shown, since it is not the registry's. */
export function proxyRefusal(status: number, address: string): CacheError {
  const message = `it does not connect to ${address}: HTTP ${status}`;
  if (isTransient(status)) return new TransientError(message);
  return new CacheError('DENIED', message, {
    hint:
      status === 407
        ? 'it wants other credentials: HTTPS_PROXY or HTTP_PROXY=http://user:password@host:port, percent-encoded'
        : 'ask the administrator of the proxy, or name the host in NO_PROXY',
  });
}

function isDecodable({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

function parseUrl(value: string): URL | undefined {
  try {
    return new URL(value);
  } catch {
    return undefined;
  }
}

function isExcepted(url: URL, exceptions: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  if (host === 'localhost' || host === '::1' || host.startsWith('127.')) return true;
  return exceptions
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== '' && matches(entry, host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  const range = /^(.+)\/(\d+)$/.exec(entry);
  if (range?.[1] !== undefined) return isInRange(host, range[1], Number(range[2]));
  const [, name = entry, entryPort] = /^(\[[^\]]+\]|[^:]+):(\d+)$/.exec(entry) ?? [];
  if (entryPort !== undefined && entryPort !== port) return false;
  const bare = name.replace(/^\[|\]$/g, '');
  if (isIP(bare) !== 0) return bare === host;
  const domain = bare.replace(/^\*?\./, '');
  // A leading dot means subdomains only.
  return host.endsWith(`.${domain}`) || (domain === bare && host === domain);
}

function isInRange(host: string, network: string, prefix: number): boolean {
  const family = isIP(host);
  if (family === 0 || family !== isIP(network) || prefix > (family === 4 ? 32 : 128)) return false;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(network, prefix, type);
  return list.check(host, type);
}
