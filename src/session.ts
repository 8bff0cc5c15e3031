import type { OnNote } from './buildkit/options.js';
import { CacheError, type Side } from './errors.js';
import { DEFAULT_LAYOUT_SETTINGS, type LayoutSettings } from './layout/settings.js';
import type { RetryPolicy } from './net/http/retry.js';
import type { RegistryClient } from './net/registry/registry-client.js';

/** A user of a registry, given instead of what `docker login` left. */
export interface RegistryUser {
  readonly username?: string | undefined;
  readonly password?: string | Uint8Array | undefined;
}

/** How registries are reached, apart from what an option string says. A user is for one registry: no other sees it. */
export interface RegistryAccess extends RegistryUser {
  /** A PEM file with certificates to trust, in addition to the system's. */
  readonly ca?: string | undefined;
  /** The user for the registry of the imports, where it is another than the one above. */
  readonly import?: RegistryUser | undefined;
  /** The same for the exports. */
  readonly export?: RegistryUser | undefined;
}

/** What an operation is given to reach caches, apart from option strings. */
export interface SessionOptions {
  readonly registry?: RegistryAccess | undefined;
  /** How folders are read and written; what is left out is the default. */
  readonly layout?: Partial<LayoutSettings> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told of attributes without effect. */
  readonly onNote?: OnNote | undefined;
}

/** What one operation has open: its settings with their defaults, and a client for each service that it talks to. */
export class Session implements AsyncDisposable {
  readonly layout: LayoutSettings;
  readonly signal: AbortSignal | undefined;
  readonly #access: RegistryAccess;
  readonly #policy: RetryPolicy | undefined;
  readonly #clients = new Map<string, Promise<RegistryClient>>();
  /** The registry that each given user is for. */
  readonly #services = new Map<RegistryUser, string>();

  /** @param policy - how often and how long failed requests are repeated */
  constructor({ registry = {}, layout, signal }: SessionOptions = {}, policy?: RetryPolicy) {
    this.layout = { ...DEFAULT_LAYOUT_SETTINGS, ...layout };
    this.signal = signal;
    this.#access = registry;
    this.#policy = policy;
  }

  /**
   * A client for a registry. Both sides share it, with its connections and tokens, unless each has a user of its own.
   *
   * @throws CacheError USAGE where the user that was given is for another registry
   */
  async registry(service: string, side: Side, { insecure }: { readonly insecure: boolean }): Promise<RegistryClient> {
    this.claimUser(service, side);
    const user = this.#userFor(side);
    const key = JSON.stringify([service, insecure, user === this.#access ? 'both' : side]);
    const client = this.#clients.get(key) ?? this.#connect(service, insecure, user);
    this.#clients.set(key, client);
    return client;
  }

  /**
   * Assigns the user that was given for a side to a registry. Called for each registry before any is talked to.
   *
   * @throws CacheError USAGE where that user is for another registry
   */
  claimUser(service: string, side: Side): void {
    const user = this.#userFor(side);
    if (!isGiven(user)) return;
    const owner = this.#services.get(user) ?? service;
    this.#services.set(user, owner);
    if (owner === service) return;
    throw new CacheError('USAGE', `credentials were given, and there are two registries: ${owner} and ${service}`, {
      hint: 'use "docker login" for both instead, so that each gets its own',
    });
  }

  /** Closes all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients.values()) await (await client).close();
  }

  #userFor(side: Side): RegistryUser {
    return this.#access[side] ?? this.#access;
  }

  /** What speaks HTTP is loaded at first use, since most caches are in folders. */
  async #connect(registry: string, insecure: boolean, user: RegistryUser): Promise<RegistryClient> {
    const [{ RegistryClient }, { dockerCredentials }] = await Promise.all([
      import('./net/registry/registry-client.js'),
      import('./net/registry/docker-credentials.js'),
    ]);
    const { username = '', password = '' } = user;
    const lookUp = isGiven(user)
      ? () => Promise.resolve({ credentials: { username, password } })
      : (signal: AbortSignal) => dockerCredentials(registry, process.env, signal);
    return new RegistryClient({ registry, insecure, ca: this.#access.ca, lookUp, policy: this.#policy });
  }
}

function isGiven({ username, password }: RegistryUser): boolean {
  return username !== undefined || password !== undefined;
}
