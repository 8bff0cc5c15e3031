import { setMaxListeners } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import { trustedCertificates } from './certificates.js';
import { ConnectionError, cutOff, timedOut } from './network-error.js';
import { isPrivate, isPublicHost, publicOnly, privateAddressError } from './private-address.js';
import { proxyAuthorization, proxyFor, proxyPeer, proxyRefusal } from './proxy.js';
import { until } from './until.js';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT';
  readonly url: URL;
  /** The server that named this address, where one did. */
  readonly namedBy?: URL | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: AsyncIterable<Uint8Array> | undefined;
  /** How long nothing may move once there is a connection, in milliseconds. */
  readonly timeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpResponse {
  /** Of the request that was answered in the end. */
  readonly method: HttpRequest['method'];
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Has to be read or destroyed, or the connection stays taken. Breaks off with an error when bytes are missing. */
  readonly body: http.IncomingMessage;
}

export interface HttpSettings {
  /** A PEM file with certificates to trust beside the system's. */
  readonly ca?: string | undefined;
  /** Whether servers' certificates are checked. Where they are not, servers outside may name addresses inside, too. */
  readonly verify: boolean;
  /** How long it may take until there is a connection that is ready for use, in milliseconds. */
  readonly connectTimeout?: number | undefined;
}

/** In milliseconds. Names, TCP, proxies and TLS together, as Go's clients have it for TLS alone. */
const CONNECT_TIMEOUT = 10_000;
/** What is only read is soon asked for again; what is written may take a registry its time. In milliseconds. */
const READ_TIMEOUT = 30_000;
const WRITE_TIMEOUT = 60_000;
/** The most of an answer that is read to keep its connection, in bytes. */
const DISCARD_LIMIT = 256 * 1024;

/**
 * Single requests over connections that are kept: proxies, certificates and timeouts, but no redirects, no retries and
 * no credentials. It is Node's own client, since that starts in a tenth of the time that others take to load.
 */
export class HttpClient {
  readonly #settings: HttpSettings;
  readonly #connectTimeout: number;
  readonly #agents = new Map<string, Promise<http.Agent>>();
  readonly #opened = new Set<http.Agent>();
  /** The hosts, or the proxies before them, that have answered anything. */
  readonly #reached = new Set<string>();
  /** The addresses of hosts that answered themselves, and not through a proxy. */
  readonly #addresses = new Map<string, string>();
  #tls: Promise<https.AgentOptions> | undefined;

  constructor(settings: HttpSettings) {
    this.#settings = settings;
    this.#connectTimeout = settings.connectTimeout ?? CONNECT_TIMEOUT;
  }

  /**
   * @returns the answer, whatever its status
   * @throws ConnectionError when there is none, the body's own error where that cannot be read, and the reason of the
   *   signal
   */
  async send({ method, url, namedBy, headers = {}, body, timeout, signal }: HttpRequest): Promise<HttpResponse> {
    signal?.throwIfAborted();
    // Many requests may wait for the same signal, and none of them forgets to stop listening.
    if (signal) setMaxListeners(0, signal);
    const idle = timeout ?? (method === 'GET' || method === 'HEAD' ? READ_TIMEOUT : WRITE_TIMEOUT);
    const proxy = proxyFor(url);
    const lookup = namedBy && (await until(this.#guard(url, namedBy, proxy), signal));
    const agent = await until(this.#agentFor(url, proxy), signal);
    // A proxy for plain HTTP takes the whole address for a path.
    const plainProxy = url.protocol === 'http:' ? proxy : undefined;
    const outgoing = (plainProxy ?? url).protocol === 'https:' ? https.request : http.request;
    const request = outgoing(plainProxy ?? url, {
      method,
      agent,
      timeout: idle,
      // Bytes have to come as they are: their digests are of those.
      headers: {
        'user-agent': 'bkcache',
        'accept-encoding': 'identity',
        ...(plainProxy ? proxyHeaders(plainProxy, url) : {}),
        ...headers,
      },
      ...(plainProxy ? { path: url.href } : {}),
      ...(signal ? { signal } : {}),
      ...(lookup ? { lookup } : {}),
    });
    request.on('timeout', () => request.destroy(timedOut(idle)));
    const answer = answerOf(request, this.#connectTimeout, signal);
    // Whatever ends the writing ends the request with it, and is thrown by the line after.
    if (body === undefined) request.end();
    else void writeBody(request, body).catch((error: unknown) => request.destroy(error as Error));
    const next = (proxy ?? url).host;
    try {
      const response = await answer;
      // A server that answers before it has everything wants no more.
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

  /** Closes the connections that are kept. */
  async close(): Promise<void> {
    // Whoever is still waiting for one is on the way out, too.
    for (const agent of this.#opened) agent.destroy();
    this.#opened.clear();
    this.#agents.clear();
    await Promise.resolve();
  }

  /**
   * What an address has to be looked up with that a server named. Servers outside have nothing to name inside: neither
   * this machine nor private networks. Those inside may: a registry and its store of blobs are often in one network.
   *
   * @throws ConnectionError for an address inside that is not a name
   */
  async #guard(url: URL, namedBy: URL, proxy: URL | undefined): Promise<LookupFunction | undefined> {
    if (!this.#settings.verify || url.host === namedBy.host) return undefined;
    const address = this.#addresses.get(namedBy.host);
    const isPublic = address === undefined ? await isPublicHost(namedBy.hostname) : !isPrivate(address);
    if (!isPublic) return undefined;
    if (isPrivate(url.hostname)) throw new ConnectionError(privateAddressError(url.hostname), undefined, true);
    // Names are looked up by the proxy then, in its own network.
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

  /** Made once: reading a system's certificates takes longer than a handshake. */
  #secure(): Promise<https.AgentOptions> {
    this.#tls ??= (async () => {
      const { ca, verify } = this.#settings;
      if (!verify) return { rejectUnauthorized: false };
      return { secureContext: createSecureContext({ ca: await trustedCertificates(ca) }) };
    })();
    return this.#tls;
  }
}

/** Gives a connection back whose answer nobody reads; one with more to come than a new connection costs is closed. */
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

/** Rejects at once: a request without a connection keeps its errors until it gets one. */
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
    // An answer like any other, and nothing comes after it.
    request.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve(response.destroy());
      over();
    });
    request.once('close', () => reject(cutOff()));
    // Stays: an error that comes after the answer reaches the reader of the body, and must not be raised twice.
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

/** Waits until more can be written, or nothing more is wanted. */
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
