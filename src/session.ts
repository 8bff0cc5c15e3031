import type { OnNote } from './buildkit/options.js';
import { CacheError, type Side } from './errors.js';
import { DEFAULT_LAYOUT_SETTINGS, type LayoutSettings } from './layout/settings.js';
import type { HttpClient } from './net/http/http.js';
import type { RetryPolicy } from './net/http/retry.js';

/** A user of a registry, given instead of what `docker login` left. */
export interface RegistryUser {
  readonly username?: string | undefined;
  readonly password?: string | Uint8Array | undefined;
}

/** How registries are reached, in addition to what an option string says. A user is for one registry: no other sees it. */
export interface RegistryAccess extends RegistryUser {
  /** A PEM file with certificates to trust in addition to the system's. */
  readonly ca?: string | undefined;
  /** The user for the registry of the imports, instead of the user above. */
  readonly import?: RegistryUser | undefined;
  /** The user for the registry of the exports, instead of the user above. */
  readonly export?: RegistryUser | undefined;
}

/** What an operation is given to reach caches, in addition to option strings. */
export interface SessionOptions {
  readonly registry?: RegistryAccess | undefined;
  /** How folders are read and written; what is left out is the default. */
  readonly layout?: Partial<LayoutSettings> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told what a user should know, such as that an attribute has no effect. */
  readonly onNote?: OnNote | undefined;
}

/** The credentials that a session has for a service. */
interface SessionCredentials {
  /** The sides that they were given for. */
  readonly of: Side | 'both';
  readonly username: string;
  readonly password: string | Uint8Array;
}

/**
 * What one operation has open: its settings with the defaults filled in, its connections, the credentials that it was
 * given. Nothing is loaded or opened before a backend asks for it. The end of the session closes all of it.
 */
export class Session implements AsyncDisposable {
  readonly layout: LayoutSettings;
  readonly signal: AbortSignal | undefined;
  /** How requests to services are repeated; undefined for the default. */
  readonly retryPolicy: RetryPolicy | undefined;
  readonly #access: RegistryAccess;
  readonly #onNote: OnNote | undefined;
  readonly #opened = new Map<string, Promise<AsyncDisposable>>();
  readonly #closing: AsyncDisposable[] = [];
  /** The one service that credentials are for. */
  readonly #services = new Map<SessionCredentials['of'], string>();

  constructor({ registry = {}, layout, signal, onNote }: SessionOptions = {}, retryPolicy?: RetryPolicy) {
    this.layout = withDefaults(layout);
    this.signal = signal;
    this.retryPolicy = retryPolicy;
    this.#access = registry;
    this.#onNote = onNote;
  }

  note(text: string | undefined): void {
    if (text !== undefined) this.#onNote?.(text);
  }

  /**
   * The credentials that were given for a service. The first service that asks for them is the only one that gets them.
   *
   * @returns undefined where none were given for this side
   * @throws CacheError USAGE for a second service
   */
  credentials(service: string, side: Side): SessionCredentials | undefined {
    const of = isGiven(this.#access[side]) ? side : 'both';
    const given = of === 'both' ? this.#access : this.#access[of];
    if (!isGiven(given)) return undefined;
    const owner = this.#services.get(of) ?? service;
    this.#services.set(of, owner);
    const { username = '', password = '' } = given;
    if (owner === service) return { of, username, password };
    throw new CacheError('USAGE', `credentials were given, and there are two registries: ${owner} and ${service}`, {
      hint: 'use "docker login" for both instead, so that each gets its own',
    });
  }

  /**
   * The connections of this operation, with the certificates that it trusts. They are shared by all services.
   *
   * @param verify - whether the certificates of servers are checked
   */
  http({ verify }: { readonly verify: boolean }): Promise<HttpClient> {
    return this.once(`http ${verify}`, async () => {
      const { HttpClient } = await import('./net/http/http.js');
      return new HttpClient({ ca: this.#access.ca, verify });
    });
  }

  /**
   * Something that the operation needs once, such as the client of a service: made at first use, closed at the end.
   *
   * @param key - names one thing of one class: the same key always comes with the same `make`
   */
  async once<T extends AsyncDisposable>(key: string, make: () => Promise<T>): Promise<T> {
    const opened = (this.#opened.get(key) as Promise<T> | undefined) ?? this.#deferred(make);
    this.#opened.set(key, opened);
    return opened;
  }

  /** Closes something at the end of the session, such as the lease of a cache that is read until then. */
  defer(closing: AsyncDisposable): void {
    this.#closing.push(closing);
  }

  /** Closes what was opened, the latest first, since it may use what was opened before it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#opened.values());
    let failure: unknown;
    for (const closing of this.#closing.toReversed()) {
      await closing[Symbol.asyncDispose]().then(undefined, (error: unknown) => (failure ??= error));
    }
    if (failure !== undefined) throw failure;
  }

  async #deferred<T extends AsyncDisposable>(make: () => Promise<T>): Promise<T> {
    const made = await make();
    this.defer(made);
    return made;
  }
}

function isGiven(given: RegistryUser | undefined): given is RegistryUser {
  return given?.username !== undefined || given?.password !== undefined;
}

/** An option that is undefined has its default, as one that is left out. */
function withDefaults(given: Partial<LayoutSettings> = {}): LayoutSettings {
  return {
    lockTimeout: given.lockTimeout ?? DEFAULT_LAYOUT_SETTINGS.lockTimeout,
    durable: given.durable ?? DEFAULT_LAYOUT_SETTINGS.durable,
    heal: given.heal ?? DEFAULT_LAYOUT_SETTINGS.heal,
  };
}
