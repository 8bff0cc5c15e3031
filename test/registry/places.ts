import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { registryRepository } from '../../src/backend/registry/registry-repository.js';
import { registryClient } from '../../src/backend/registry/session-client.js';
import { type RegistryAccess, Session } from '../../src/session.js';
import { tokensIn } from '../../src/serve/key-file.js';
import { startServe } from '../support/bkcache-serve.js';
import { type RegistryAuth, type RegistryOptions, startRegistry } from '../support/docker-registry.js';
import type { Place } from '../backend/repository/conformance.js';
import { HASTY } from '../support/servers.js';
import { ISSUER, SERVICE, startTokenServer, type TokenServer } from '../support/token-server.js';

export const USER = { username: 'somebody', password: 'pass:word 1', identityToken: 'an identity token' };

/** Runs tests against real registries, where `npm run test:registry` asks for that; elsewhere it says why not. */
export function withRegistries(describe: () => void): void {
  if (process.env['BKCACHE_TEST_REGISTRY'] !== undefined) describe();
  else test.skip('these need a registry: npm run test:registry', (t) => t.pass());
}

/** A registry for the tests of one file. */
export interface TestRegistry {
  readonly host: string;
  readonly access: RegistryAccess;
  readonly tokens: TokenServer | undefined;
  stop(): Promise<void>;
}

/** A registry of Debian by whom it asks, or a folder that `bkcache serve` serves. */
type Kind = RegistryAuth['kind'] | 'served' | 'served to tokens';

export async function startTestRegistry(
  kind: Kind,
  options: Pick<RegistryOptions, 'deletes'> = {},
): Promise<TestRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'bkcache-registry-'));
  // What layers became in registries is remembered there.
  process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
  if (kind === 'served' || kind === 'served to tokens') return startServed(folder, kind === 'served to tokens');
  const tokens = kind === 'token' ? await startTokenServer(folder, USER) : undefined;
  const { username, password } = USER;
  const auth: RegistryAuth =
    tokens !== undefined
      ? { kind: 'token', realm: tokens.realm, service: SERVICE, issuer: ISSUER, certificate: tokens.certificate }
      : kind === 'htpasswd'
        ? { kind, username, password }
        : { kind: 'none' };
  const server = await startRegistry(folder, { auth, ...options });
  return {
    host: server.host,
    access: kind === 'none' ? {} : { username, password },
    tokens,
    async stop() {
      await server.stop();
      tokens?.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function startServed(folder: string, asks: boolean): Promise<TestRegistry> {
  const key = join(folder, 'key');
  const server = await startServe(join(folder, 'store'), asks ? ['--token-file', key] : []);
  const token = (await tokensIn(key)).sign([{ action: 'write', repositories: ['tests/*'] }], 3_600_000);
  return {
    host: server.host,
    access: asks ? { username: 'token', password: token } : {},
    tokens: undefined,
    async stop() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A new repository. */
export async function placeIn(
  { host, access }: Pick<TestRegistry, 'host' | 'access'>,
  { repository = `tests/${randomUUID()}` } = {},
): Promise<Place> {
  const ref = `type=registry,ref=${host}/${repository}`;
  const client = await registryClient(
    host,
    { side: 'import', insecure: false },
    new Session({ registry: access }, HASTY),
  );
  return {
    imports: (tag) => `${ref}:${tag}`,
    exports: (tag) => `${ref}:${tag}`,
    listed: ref,
    access,
    repository: registryRepository({ client, repository, side: 'export' }),
  };
}
