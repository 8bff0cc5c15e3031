import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort, output, type Server, startServer } from './process.js';

const INSTALL = 'apt-get install docker-registry apache2-utils';

/** Who may use a registry: nobody in particular, who has this password, or who has a token of this server's. */
export type RegistryAuth =
  | { readonly kind: 'none' }
  | { readonly kind: 'htpasswd'; readonly username: string; readonly password: string }
  | {
      readonly kind: 'token';
      readonly realm: string;
      readonly service: string;
      readonly issuer: string;
      /** A PEM file. */
      readonly certificate: string;
    };

export interface RegistryOptions {
  /** Nobody is asked by default. */
  readonly auth?: RegistryAuth;
  /** PEM files; plain HTTP without them. */
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** An address of this machine; 127.0.0.1 by default. */
  readonly address?: string;
  /** Whether manifests can be deleted; they can by default. */
  readonly deletes?: boolean;
}

/**
 * Starts Debian's docker-registry on loopback.
 *
 * @param folder - for what it keeps
 */
export async function startRegistry(
  folder: string,
  { auth = { kind: 'none' }, tls, address = '127.0.0.1', deletes = true }: RegistryOptions = {},
): Promise<Server> {
  await mkdir(folder, { recursive: true });
  const host = `${address}:${await freePort(address)}`;
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(folder, 'data') }, delete: { enabled: deletes } },
    http: { addr: host, secret: 'a secret of the tests', ...(tls ? { tls } : {}) },
    ...(await authOf(folder, auth)),
  };
  const path = join(folder, 'config.yml');
  // JSON is YAML.
  await writeFile(path, JSON.stringify(config));
  return startServer('docker-registry', ['serve', path], host, INSTALL);
}

async function authOf(folder: string, auth: RegistryAuth): Promise<object> {
  switch (auth.kind) {
    case 'none':
      return {};
    case 'htpasswd': {
      const path = join(folder, 'htpasswd');
      await writeFile(path, await output('htpasswd', ['-Bbn', auth.username, auth.password], INSTALL));
      return { auth: { htpasswd: { realm: 'tests', path } } };
    }
    case 'token': {
      const { realm, service, issuer, certificate } = auth;
      return { auth: { token: { realm, service, issuer, rootcertbundle: certificate } } };
    }
  }
}
