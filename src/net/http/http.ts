import { setMaxListeners } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import { trustedCertificates } from './certificates.js';
import { ConnectionError, cutOff, timedOut } from './network-error.js';
import { isPrivate, isPublicHost, publicOnly, privateAddressError } from './private-address.js';
import { proxyAuthorization, proxyFor, proxyPeer, proxyRefusal } from './proxy.js';
import { until } from '../../bytes/until.js';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  readonly url: URL;
  /** Path and query as they are sent, for a server that reads `/../` as a name. By default those of the URL. */
  readonly path?: string | undefined;
  /** The server that named this address, if a server did. */
  readonly namedBy?: URL | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: AsyncIterable<Uint8Array> | undefined;
  /** How long an open connection may be idle, in milliseconds. */
  readonly timeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpResponse {
  /** The method of the last request, after redirects. */
  readonly method: HttpRequest['method'];
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** The caller reads or destroys the body, to free the connection. A body that ends early throws an error. */
  readonly body: http.IncomingMessage;
}

interface HttpSettings {
  /** A PEM file with certificates to trust in addition to the system's. */
  readonly ca?: string | undefined;
  /** Whether certificates are checked. If not, public servers may also name private addresses. */
  readonly verify: boolean;
  /** How long a connection may take to be ready for use, in milliseconds. */
  readonly connectTimeout?: number | undefined;
}

/** The limit for name lookup, TCP, proxy and TLS together, in milliseconds. Go's clients use it for TLS alone. */
const CONNECT_TIMEOUT = 10_000;
/** Idle limits in milliseconds. A read is cheap to retry; a registry may need time to store what was written. */
const READ_TIMEOUT = 30_000;
const WRITE_TIMEOUT = 60_000;
/** How much of an unread body is read to keep its connection, in bytes. */
const DISCARD_LIMIT = 256 * 1024;

/**
 * Single requests over keep-alive connections, with proxies, certificates and timeouts; without redirects, retries and
 * credentials. It uses Node's own client, which loads ten times faster than others.
 */
export class HttpClient implements AsyncDisposable {
  readonly #settings: HttpSettings;
  readonly #connectTimeout: number;
  readonly #agents = new Map<string, Promise<http.Agent>>();
  readonly #opened = new Set<http.Agent>();
  /** The hosts, or the proxies in front of them, that have answered a request. */
  readonly #reached = new Set<string>();
  /** The IP addresses of hosts that answered without a proxy. */
  readonly #addresses = new Map<string, string>();
  #tls: Promise<https.AgentOptions> | undefined;

  constructor(settings: HttpSettings) {
    this.#settings = settings;
    this.#connectTimeout = settings.connectTimeout ?? CONNECT_TIMEOUT;
  }

  /**
   * @returns the response, with any status
   * @throws ConnectionError without a response; the error of a request body that cannot be read; the reason of the
   *   signal
   */
  async send({ method, url, path, namedBy, headers = {}, body, timeout, signal }: HttpRequest): Promise<HttpResponse> {
    signal?.throwIfAborted();
    // Many requests may listen to the same signal, and each of them stops listening.
    if (signal) setMaxListeners(0, signal);
    const idle = timeout ?? (method === 'GET' || method === 'HEAD' ? READ_TIMEOUT : WRITE_TIMEOUT);
    const proxy = proxyFor(url);
    const lookup = namedBy && (await until(this.#guard(url, namedBy, proxy), signal));
    const agent = await until(this.#agentFor(url, proxy), signal);
    // A proxy for plain HTTP expects the whole URL as the path.
    const plainProxy = url.protocol === 'http:' ? proxy : undefined;
    const outgoing = (plainProxy ?? url).protocol === 'https:' ? https.request : http.request;
    const request = outgoing(plainProxy ?? url, {
      method,
      agent,
      timeout: idle,
      // Digests are of the bytes without a content coding.
      headers: {
        'user-agent': 'bkcache',
        'accept-encoding': 'identity',
        ...(plainProxy ? proxyHeaders(plainProxy, url) : {}),
        ...headers,
      },
      ...(plainProxy
        ? { path: path === undefined ? url.href : `${url.origin}${path}` }
        : path === undefined
          ? {}
          : { path }),
      ...(signal ? { signal } : {}),
      ...(lookup ? { lookup } : {}),
    });
    request.on('timeout', () => request.destroy(timedOut(idle)));
    const answer = answerOf(request, this.#connectTimeout, signal);
    // An error of the body destroys the request, and is thrown where the response is awaited.
    if (body === undefined) request.end();
    else void writeBody(request, body).catch((error: unknown) => request.destroy(error as Error));
    const next = (proxy ?? url).host;
    try {
      const response = await answer;
      // A server that answers before the body is sent does not want the rest of the body.
      if (!request.writableFinished) response.once('close', () => request.destroy());
      if (plainProxy && response.statusCode === 407) {
        response.destroy();
        throw new ConnectionError(proxyRefusal(407, url.host), proxyPeer(plainProxy));
      }
      this.#reached.add(next);
      const { remoteAddress } = response.socket;
      if (proxy === undefined && remoteAddress !== undefined) this.#addresses.set(url.host, remoteAddress);
      return { method, status: response.statusCode ?? 0, headers: response.headers, body: response };
    } catch (error) {
      signal?.throwIfAborted();
      const { cause, peer } = error instanceof ConnectionError ? error : { cause: error as Error, peer: undefined };
      throw new ConnectionError(cause, peer ?? (plainProxy && proxyPeer(plainProxy)), this.#reached.has(next));
    }
  }

  /** Closes the keep-alive connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    // Requests that still wait for a connection fail, which is intended.
    for (const agent of this.#opened) agent.destroy();
    this.#opened.clear();
    this.#agents.clear();
    await Promise.resolve();
  }

  /**
   * The lookup for an address that a server named. A public server must not name a private address: this machine or a
   * private network. A private server may, since a registry and its blob store are often in one private network.
   *
   * @throws ConnectionError for a private IP address that a public server named
   */
  async #guard(url: URL, namedBy: URL, proxy: URL | undefined): Promise<LookupFunction | undefined> {
    if (!this.#settings.verify || url.host === namedBy.host) return undefined;
    const address = this.#addresses.get(namedBy.host);
    const isPublic = address === undefined ? await isPublicHost(namedBy.hostname) : !isPrivate(address);
    if (!isPublic) return undefined;
    if (isPrivate(url.hostname)) throw new ConnectionError(privateAddressError(url.hostname), undefined, true);
    // With a proxy, the proxy looks up the name, in its own network.
    return proxy === undefined && isIP(url.hostname) === 0 ? publicOnly : undefined;
  }

  #agentFor(url: URL, proxy: URL | undefined): Promise<http.Agent> {
    const key = `${url.protocol} ${proxy?.href ?? ''}`;
    const known =
      this.#agents.get(key) ??
      this.#makeAgent(url, proxy).then((agent) => {
        this.#opened.add(agent);
        return agent;
      });
    this.#agents.set(key, known);
    return known;
  }

  async #makeAgent(url: URL, proxy: URL | undefined): Promise<http.Agent> {
    const pool = { keepAlive: true, scheduling: 'lifo' } as const;
    const isPlain = url.protocol === 'http:' && proxy?.protocol !== 'https:';
    if (isPlain) return new http.Agent(pool);
    const secure = await this.#secure();
    if (proxy === undefined || url.protocol === 'http:') return new https.Agent({ ...pool, ...secure });
    const { TunnelAgent } = await import('./tunnel.js');
    return new TunnelAgent({ ...pool, ...secure, proxy, connectTimeout: this.#connectTimeout });
  }

  /** TLS options, made once: reading the system's certificates takes longer than a handshake. */
  #secure(): Promise<https.AgentOptions> {
    this.#tls ??= (async () => {
      const { ca, verify } = this.#settings;
      if (!verify) return { rejectUnauthorized: false };
      return { secureContext: createSecureContext({ ca: await trustedCertificates(ca) }) };
    })();
    return this.#tls;
  }
}

/** Frees the connection of a response without reading the body; a connection with a large rest of a body is closed. */
export function discard({ method, headers, body }: HttpResponse): void {
  let size = 0;
  body
    .on('error', () => undefined)
    .on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > DISCARD_LIMIT) body.destroy();
    });
  if (method !== 'HEAD' && Number(headers['content-length'] ?? 0) > DISCARD_LIMIT) body.destroy();
}

function proxyHeaders(proxy: URL, { host }: URL): Record<string, string> {
  return { host, ...proxyAuthorization(proxy) };
}

/** Waits for the response. An abort rejects at once, since a request without a connection reports errors only when it has one. */
function answerOf(
  request: http.ClientRequest,
  connectTimeout: number,
  signal: AbortSignal | undefined,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      reject(error);
      request.destroy(error);
    };
    const aborted = () => reject(signal?.reason as Error);
    const timer = setTimeout(() => fail(timedOut(connectTimeout)), connectTimeout);
    const over = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
    };
    signal?.addEventListener('abort', aborted);
    request.once('socket', (socket: Socket) => {
      const ready = () => clearTimeout(timer);
      if (request.reusedSocket) ready();
      else socket.once(socket instanceof TLSSocket ? 'secureConnect' : 'connect', ready);
    });
    request.once('response', resolve).once('response', over).once('close', over);
    // An upgrade is a response without a body.
    request.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve(response.destroy());
      over();
    });
    request.once('close', () => reject(cutOff()));
    // This listener stays: an error after the response reaches the reader of the body, and must not be raised twice.
    request.on('error', reject);
  });
}

async function writeBody(request: http.ClientRequest, body: AsyncIterable<Uint8Array>): Promise<void> {
  let isOver = false;
  const over = () => (isOver = true);
  request.once('response', over).once('close', over);
  for await (const chunk of body) {
    if (isOver) return;
    if (!request.write(chunk)) await drained(request);
  }
  request.end();
}

/** Waits until the request accepts more bytes, or has ended. */
function drained(request: http.ClientRequest): Promise<void> {
  const events = ['drain', 'response', 'close'] as const;
  return new Promise((resolve) => {
    const done = () => {
      for (const event of events) request.off(event, done);
      resolve();
    };
    for (const event of events) request.once(event, done);
    if (request.closed) done();
  });
}
