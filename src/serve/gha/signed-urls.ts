import type { Tokens } from '../tokens.js';

/** How long an address counts, in milliseconds. A request that began in time may take longer. */
const LIFETIME = { read: 15 * 60_000, write: 60 * 60_000 } as const;

/** What an address allows. */
export type Permission = keyof typeof LIFETIME;

/** The first parts of the path: clients of Azure expect /ACCOUNT/CONTAINER/BLOB. */
const CONTAINER = { read: 'entries', write: 'uploads' } as const;

/** Addresses that let their holder read one blob, or write one upload, for some minutes. */
export class SignedUrls {
  readonly #tokens: Tokens;

  constructor(tokens: Tokens) {
    this.#tokens = tokens;
  }

  /** The address of a blob. */
  sign(origin: string, permission: Permission, blob: string, now = Date.now()): string {
    const path = `/bkcache/${CONTAINER[permission]}/${encodeURIComponent(blob)}`;
    const expires = now + LIFETIME[permission];
    const query = new URLSearchParams({ sp: permission, se: `${expires}`, sig: this.#seal(permission, blob, expires) });
    return `${origin}${path}?${query.toString()}`;
  }

  /** The blob that an address is for; undefined for an address that was not signed here, or does not count any more. */
  check(path: string, query: URLSearchParams, permission: Permission, now = Date.now()): string | undefined {
    const [, container, name = ''] = /^\/bkcache\/(\w+)\/([^/]+)$/.exec(path) ?? [];
    const expires = Number(query.get('se'));
    if (container !== CONTAINER[permission] || !Number.isSafeInteger(expires) || now >= expires) return undefined;
    let blob = '';
    try {
      blob = decodeURIComponent(name);
    } catch {
      return undefined;
    }
    const text = textOf(permission, blob, expires);
    return this.#tokens.isSealed(text, query.get('sig') ?? '') ? blob : undefined;
  }

  #seal(permission: Permission, blob: string, expires: number): string {
    return this.#tokens.seal(textOf(permission, blob, expires));
  }
}

function textOf(permission: Permission, blob: string, expires: number): string {
  return JSON.stringify([permission, blob, expires]);
}
