import { CacheError } from '../../errors.js';
import type { RegistryClient } from './registry-client.js';
import type { RetryPolicy } from '../http/retry.js';

/** How registries are reached, beside what an option string says. */
export interface RegistryAccess {
  /** A PEM file with certificates to trust beside the system's. */
  readonly ca?: string | undefined;
  /** Instead of what `docker login` left; for one registry only, so that no other ever sees it. */
  readonly username?: string | undefined;
  readonly password?: string | Uint8Array | undefined;
}

/** The registries that one operation talks to: each has its connections and tokens once, whoever uses them. */
export class Registries {
  readonly #access: RegistryAccess;
  readonly #policy: RetryPolicy | undefined;
  readonly #clients = new Map<string, Promise<RegistryClient>>();
  /** Whose the given credentials are. */
  #owner: string | undefined;

  constructor(access: RegistryAccess = {}, policy?: RetryPolicy) {
    this.#access = access;
    this.#policy = policy;
  }

  /**
   * Says that a registry will be talked to, before anything is done.
   *
   * @throws CacheError USAGE for a second registry when credentials were given
   */
  expect(registry: string): void {
    if (!this.#isGiven || (this.#owner ??= registry) === registry) return;
    throw new CacheError(
      'USAGE',
      `credentials were given, and there are two registries: ${this.#owner} and ${registry}`,
      { hint: 'use "docker login" for both instead, so that each gets its own' },
    );
  }

  /**
   * @throws CacheError USAGE for a second registry when credentials were given
   */
  async client(registry: string, { insecure }: { readonly insecure: boolean }): Promise<RegistryClient> {
    this.expect(registry);
    const key = `${registry} ${insecure}`;
    const client = this.#clients.get(key) ?? this.#make(registry, insecure);
    this.#clients.set(key, client);
    return client;
  }

  /** Closes the connections that are kept. */
  async close(): Promise<void> {
    for (const client of this.#clients.values()) await (await client).close();
  }

  get #isGiven(): boolean {
    return this.#access.username !== undefined || this.#access.password !== undefined;
  }

  /** All that speaks HTTP is loaded at first use, since most caches are in folders. */
  async #make(registry: string, insecure: boolean): Promise<RegistryClient> {
    const [{ RegistryClient }, { dockerCredentials }] = await Promise.all([
      import('./registry-client.js'),
      import('./docker-credentials.js'),
    ]);
    const { ca, username = '', password = '' } = this.#access;
    const lookUp = this.#isGiven
      ? () => Promise.resolve({ credentials: { username, password } })
      : (signal: AbortSignal) => dockerCredentials(registry, process.env, signal);
    return new RegistryClient({ registry, insecure, ca, lookUp, policy: this.#policy });
  }
}

/** Gives something the registries that it may need, and closes their connections after it. */
export async function withRegistries<T>(
  access: RegistryAccess | undefined,
  run: (registries: Registries) => Promise<T>,
): Promise<T> {
  const registries = new Registries(access);
  try {
    return await run(registries);
  } finally {
    await registries.close();
  }
}
