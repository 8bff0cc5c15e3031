// Servers of the tests, from the least to the most:
// - startServer, here: a listener that a test writes, for one answer of HTTP or of a registry;
// - bent-registry: a whole registry in memory that a test bends, for what docker-registry does not do on demand;
// - docker-registry: the real one, and token-server, from which it takes its tokens (npm run test:registry);
// - fault-proxy: stands before the real one, and does to its traffic what a network can do;
// - fake-s3 and fake-azblob: services of buckets that a test bends; s3rver, radosgw and azurite: real ones
//   (npm run test:objects);
// - fake-gha: the cache service of GitHub Actions and its REST API, which no machine but GitHub's has.
// No server but the program itself: refusing has the system refuse calls to a process.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import type { ExecutionContext } from 'ava';
import { HttpClient } from '../../src/net/http/http.js';
import { RegistryClient, type RegistrySettings } from '../../src/net/registry/registry-client.js';
import type { RegistryRequest } from '../../src/net/registry/registry-request.js';
import type { RetryPolicy } from '../../src/net/http/retry.js';

/** No test waits longer than it has to. */
export const HASTY: RetryPolicy = {
  attempts: 4,
  pause: 10,
  longestPause: 50,
  longestAsked: 5000,
  longestStall: 120_000,
};

/** Has a server listen on this machine until the test has ended. */
export async function listening(t: ExecutionContext, server: Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that answers as it is told, and what it was asked. */
export async function startServer(
  t: ExecutionContext,
  listener: RequestListener,
): Promise<{ readonly host: string; readonly seen: string[] }> {
  const seen: string[] = [];
  const server = createServer((incoming, answer) => {
    seen.push(`${incoming.method} ${incoming.url}`);
    listener(incoming, answer);
  });
  const host = await listening(t, server);
  t.teardown(() => server.closeAllConnections());
  return { host, seen };
}

/** Whether a request only asks which scheme a server speaks. */
export function isProbe({ url }: IncomingMessage): boolean {
  return url === '/v2/';
}

export function clientFor(
  t: ExecutionContext,
  registry: string,
  { ca, ...settings }: Partial<RegistrySettings> & { readonly ca?: string } = {},
): RegistryClient {
  const lookUp = () => Promise.resolve({});
  const http = new HttpClient({ ca, verify: true });
  const client = new RegistryClient({ registry, insecure: false, http, lookUp, policy: HASTY, ...settings });
  t.teardown(async () => {
    await client[Symbol.asyncDispose]();
    await http[Symbol.asyncDispose]();
  });
  return client;
}

/** A question that every import begins with. */
export const HEAD: RegistryRequest = {
  method: 'HEAD',
  repository: 'team/cache',
  target: '/v2/team/cache/manifests/main',
  scopes: ['repository:team/cache:pull'],
  purpose: 'find main',
  side: 'import',
};
