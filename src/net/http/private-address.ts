import { lookup as lookUp } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { CacheError } from '../../errors.js';

/**
 * The addresses that no public server can have (RFC 6890): this machine, link-local addresses, private networks, and the
 * shared space of RFC 6598. BlockList also matches IPv4 addresses that are written as IPv6.
 */
const PRIVATE = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  PRIVATE.addSubnet(network, prefix, 'ipv4');
}
for (const [network, prefix] of [
  ['::', 127],
  ['fc00::', 7],
  ['fe80::', 10],
] as const) {
  PRIVATE.addSubnet(network, prefix, 'ipv6');
}

/** Whether an IP address belongs to a private network or to this machine. */
export function isPrivate(address: string): boolean {
  const bare = address.replace(/^\[|\]$/g, '').replace(/%.*$/, '');
  const family = isIP(bare);
  return family !== 0 && PRIVATE.check(bare, family === 4 ? 'ipv4' : 'ipv6');
}

/** Whether all addresses of a host are public. A host that DNS does not know counts as public: only a proxy can reach it. */
export function isPublicHost(hostname: string): Promise<boolean> {
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0) return Promise.resolve(!isPrivate(hostname));
  return new Promise((resolve) => {
    lookUp(hostname, { all: true }, (error, addresses) => {
      resolve(error !== null || !addresses.some(({ address }) => isPrivate(address)));
    });
  });
}

/**
 * Looks up a name, and refuses private addresses. The connection uses the address that was checked.
 */
export const publicOnly: LookupFunction = (hostname, options, callback) => {
  lookUp(hostname, { ...options, all: true }, (error, addresses) => {
    const wrong = error === null ? addresses.find(({ address }) => isPrivate(address)) : undefined;
    const [first] = addresses ?? [];
    if (error !== null) callback(error, []);
    else if (wrong !== undefined) callback(privateAddressError(wrong.address), []);
    else if (options.all === true || first === undefined) callback(null, addresses);
    else callback(null, first.address, first.family);
  });
};

/** The error for a private address that a public server names. */
export function privateAddressError(address: string): CacheError {
  return new CacheError(
    'DENIED',
    `${address} is an address of a private network or of this machine, and a public server names it`,
    { hint: 'registry.insecure=true allows it' },
  );
}
