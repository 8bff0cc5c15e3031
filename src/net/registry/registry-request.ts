import type { IncomingHttpHeaders } from 'node:http';
import type { Side } from '../../errors.js';
import type { HttpRequest } from '../http/http.js';
import type { RedirectedResponse } from '../http/redirects.js';

export interface RegistryRequest {
  readonly method: HttpRequest['method'];
  /** For messages. */
  readonly repository: string;
  /** A path that starts with `/v2/`, or an address that the registry named. */
  readonly target: string | URL;
  /** The scopes that the token needs. */
  readonly scopes: readonly string[];
  /** For messages: what fails when this request fails, such as `read blob sha256:…`. */
  readonly purpose: string;
  readonly side: Side;
  readonly headers?: Readonly<Record<string, string>>;
  /** Makes the body again for every attempt. */
  readonly body?: (() => AsyncIterable<Uint8Array>) | undefined;
  readonly timeout?: number;
  /** The statuses outside 200 to 299 that the caller handles. */
  readonly accept?: readonly number[];
  /** The hint for a refusal that is not about credentials. */
  readonly hint?: string | undefined;
  /** False leaves retries to the caller. */
  readonly retry?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export type RegistryResponse = RedirectedResponse;

/** The part of a request that messages name. */
export type RequestContext = Pick<RegistryRequest, 'repository' | 'purpose' | 'side'>;

/** The same request with GET instead of HEAD, for as few bytes as possible. */
export function asGet(request: RegistryRequest): RegistryRequest {
  const range = String(request.target).includes('/blobs/') ? { range: 'bytes=0-0' } : {};
  return { ...request, method: 'GET', headers: { ...request.headers, ...range } };
}

/**
 * The URL of a request. Registries behind a proxy that ends TLS tend to name themselves with http, or without their port:
 * a URL with the registry's host name gets the registry's scheme and port.
 *
 * @param base - the registry
 */
export function urlOf(target: string | URL, base: URL): URL {
  const url = new URL(target, base);
  if (url.hostname === base.hostname && url.protocol === 'http:' && base.protocol === 'https:') {
    return new URL(`${url.pathname}${url.search}`, base);
  }
  return url;
}

/** The value of a header, or the first of several values. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}
