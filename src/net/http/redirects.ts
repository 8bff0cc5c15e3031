import { CacheError } from '../../errors.js';
import { discard, type HttpClient, type HttpRequest, type HttpResponse } from './http.js';
import { isSameService, namedAddress } from './named-address.js';
import { ConnectionError, onTheWayTo } from './network-error.js';

export interface RedirectableRequest extends Omit<HttpRequest, 'body'> {
  /** Makes the body again for every server. */
  readonly body?: (() => AsyncIterable<Uint8Array>) | undefined;
  /** Sent only to the service of the request's URL. */
  readonly authorization?: string | undefined;
  /** Whether the body contains secrets: then it is not sent to another service. */
  readonly isSecret?: boolean;
}

export interface RedirectedResponse extends HttpResponse {
  /** The URL of the response, after redirects. */
  readonly url: URL;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const REDIRECT_LIMIT = 10;

/**
 * Sends a request, and follows redirects by one rule for every method: 303 continues with GET (RFC 9110, 15.4.4), all
 * others with the same method and body. Browsers change POST to GET; a registry behind a proxy that redirects from http
 * to https expects POST.
 *
 * @param allowPlain - whether https may lead to http
 * @param nameOf - the name of another host, for messages
 * @param by - what a message calls the service
 * @throws ConnectionError, and as `HttpClient.send` does
 */
export async function sendRedirected(
  http: HttpClient,
  request: RedirectableRequest,
  {
    allowPlain,
    nameOf,
    by,
  }: {
    readonly allowPlain: boolean;
    readonly nameOf: (url: URL) => string | undefined;
    readonly by?: string | undefined;
  },
): Promise<RedirectedResponse> {
  const { url, authorization, isSecret = false, ...rest } = request;
  let { method, headers = {}, body, namedBy } = rest;
  let at = url;
  for (let count = 0; ; count++) {
    const mayKnow = isSameService(url, at);
    if (isSecret && body !== undefined && !mayKnow)
      throw refused(`it redirects a request with credentials to ${at.host}`, 'DENIED');
    const sent = mayKnow && authorization !== undefined ? { ...headers, authorization } : headers;
    const sending = http.send({ ...rest, method, url: at, headers: sent, body: body?.(), namedBy });
    const name = nameOf(at);
    const response = await (name === undefined ? sending : sending.catch(onTheWayTo(name, by)));
    const { location } = response.headers;
    if (location === undefined || !REDIRECTS.has(response.status)) return { ...response, url: at };
    discard(response);
    if (count >= REDIRECT_LIMIT) throw refused(`it redirects more than ${REDIRECT_LIMIT} times`, 'UNREACHABLE');
    namedBy = at;
    at = addressOf(location, at, allowPlain);
    if (response.status !== 303 || method === 'HEAD') continue;
    method = 'GET';
    body = undefined;
    headers = Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('content-')));
  }
}

function addressOf(location: string, from: URL, allowPlain: boolean): URL {
  try {
    return namedAddress(location, from, { allowPlain });
  } catch (error) {
    throw error instanceof CacheError ? new ConnectionError(error, undefined, true) : error;
  }
}

function refused(message: string, code: 'DENIED' | 'UNREACHABLE'): ConnectionError {
  return new ConnectionError(new CacheError(code, message), undefined, true);
}
