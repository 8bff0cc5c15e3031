import { setMaxListeners } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { createSecureContext } from 'node:tls';
import { trustedCertificates } from './certificates.js';
import { proxyFor } from './proxy.js';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: AsyncIterable<Uint8Array> | undefined;
  /** How long nothing may move, in milliseconds. */
  readonly timeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Has to be read or destroyed, or the connection stays taken. Breaks off with an error when bytes are missing. */
  readonly body: http.IncomingMessage;
}

export interface HttpSettings {
  /** A PEM file with certificates to trust beside the system's. */
  readonly ca?: string | undefined;
  /** Whether servers' certificates are checked. */
  readonly verify: boolean;
}

/** In milliseconds. */
const IDLE_TIMEOUT = 60_000;

/**
 * Single requests over connections that are kept: proxies, certificates and timeouts, but no redirects, no retries and
 * no credentials. It is Node's own client, since that starts in a tenth of the time that others take to load.
 */
export class HttpClient {
  readonly #settings: HttpSettings;
  readonly #agents = new Map<string, Promise<http.Agent>>();
  #tls: Promise<https.AgentOptions> | undefined;

  constructor(settings: HttpSettings) {
    this.#settings = settings;
  }

  /**
   * @returns the answer, whatever its status
   * @throws the system's error when the connection fails, the body's own where that cannot be read, and the reason of
   *   the signal
   */
  async send({ method, url, headers = {}, body, timeout = IDLE_TIMEOUT, signal }: HttpRequest): Promise<HttpResponse> {
    signal?.throwIfAborted();
    // Many requests may wait for the same signal, and none of them forgets to stop listening.
    if (signal) setMaxListeners(0, signal);
    const proxy = proxyFor(url);
    const agent = await this.#agentFor(url, proxy);
    // Tunnels through proxies take them from here, and not from their agent.
    const secure = url.protocol === 'https:' ? await this.#secure() : {};
    // A proxy for plain HTTP takes the whole address for a path.
    const plainProxy = url.protocol === 'http:' ? proxy : undefined;
    const outgoing = (plainProxy ?? url).protocol === 'https:' ? https.request : http.request;
    const request = outgoing(plainProxy ?? url, {
      ...secure,
      method,
      agent,
      timeout,
      headers: { 'user-agent': 'bkcache', ...(plainProxy ? proxyHeaders(plainProxy, url) : {}), ...headers },
      ...(plainProxy ? { path: url.href } : {}),
      ...(signal ? { signal } : {}),
    });
    request.on('timeout', () => request.destroy(timedOut(timeout)));
    const answer = answerOf(request);
    // Whatever ends the writing ends the request with it, and is thrown by the line after.
    if (body === undefined) request.end();
    else void writeBody(request, body).catch((error: unknown) => request.destroy(error as Error));
    try {
      const response = await answer;
      // A server that answers before it has everything wants no more.
      if (!request.writableFinished) response.once('close', () => request.destroy());
      return { status: response.statusCode ?? 0, headers: response.headers, body: response };
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  }

  /** Closes the connections that are kept. */
  async close(): Promise<void> {
    for (const agent of this.#agents.values()) (await agent.catch(() => undefined))?.destroy();
    this.#agents.clear();
  }

  #agentFor(url: URL, proxy: URL | undefined): Promise<http.Agent> {
    const key = `${url.protocol} ${proxy?.href ?? ''}`;
    const known = this.#agents.get(key) ?? this.#makeAgent(url, proxy);
    this.#agents.set(key, known);
    return known;
  }

  async #makeAgent(url: URL, proxy: URL | undefined): Promise<http.Agent> {
    const pool = { keepAlive: true, scheduling: 'lifo' } as const;
    const isPlain = url.protocol === 'http:' && proxy?.protocol !== 'https:';
    if (isPlain) return new http.Agent(pool);
    const secure = await this.#secure();
    if (proxy === undefined || url.protocol === 'http:') return new https.Agent({ ...pool, ...secure });
    const { HttpsProxyAgent } = await import('https-proxy-agent');
    return new HttpsProxyAgent(proxy, { ...pool, ...secure });
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

function proxyHeaders({ username, password }: URL, { host }: URL): Record<string, string> {
  if (username === '') return { host };
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { host, 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` };
}

function timedOut(timeout: number): Error {
  return Object.assign(new Error(`nothing moved for ${timeout / 1000} s`), { code: 'ETIMEDOUT' });
}

function answerOf(request: http.ClientRequest): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once('response', resolve);
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
