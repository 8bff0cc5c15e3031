import * as http from 'node:http';
import * as https from 'node:https';
import { isIPv6, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect, type ConnectionOptions } from 'node:tls';
import { ConnectionError, timedOut } from './network-error.js';
import { proxyAuthorization, proxyPeer, proxyRefusal } from './proxy.js';

interface TunnelSettings extends https.AgentOptions {
  readonly proxy: URL;
  /** How long a proxy may take to open a tunnel, in milliseconds. */
  readonly connectTimeout: number;
}

/**
 * Connections to HTTPS servers through a proxy: CONNECT (RFC 9110, 9.3.6), and TLS inside the tunnel. A response of the
 * proxy is never taken for a response of the server.
 */
export class TunnelAgent extends https.Agent {
  readonly #proxy: URL;
  readonly #connectTimeout: number;
  readonly #secure: https.AgentOptions;
  /** The tunnels that are not open yet. The agent keeps the open ones. */
  readonly #opening = new Set<http.ClientRequest>();

  constructor({ proxy, connectTimeout, ...options }: TunnelSettings) {
    super(options);
    this.#proxy = proxy;
    this.#connectTimeout = connectTimeout;
    this.#secure = options;
  }

  override createConnection(
    options: ConnectionOptions,
    callback?: (error: Error | null, socket: Duplex) => void,
  ): undefined {
    const done = callback as (error: Error | null, socket?: Duplex) => void;
    const fail = (cause: Error) => done(new ConnectionError(cause, proxyPeer(this.#proxy)));
    const { host = '' } = options;
    const address = `${isIPv6(host) ? `[${host}]` : host}:${options.port}`;
    const request = this.#connect(address);
    this.#opening.add(request);
    const timer = setTimeout(() => request.destroy(timedOut(this.#connectTimeout)), this.#connectTimeout);
    request.on('error', fail).on('close', () => {
      clearTimeout(timer);
      this.#opening.delete(request);
    });
    request.on('connect', ({ statusCode = 0 }, socket) => {
      clearTimeout(timer);
      if (statusCode === 200) {
        const servername = options.servername || (isIP(host) === 0 ? host : '');
        done(null, connect({ ...options, socket, servername }));
        return;
      }
      socket.destroy();
      fail(proxyRefusal(statusCode, address));
    });
    request.end();
    return undefined;
  }

  override destroy(): void {
    for (const request of this.#opening) request.destroy();
    super.destroy();
  }

  #connect(address: string): http.ClientRequest {
    const proxy = this.#proxy;
    const isSecure = proxy.protocol === 'https:';
    return (isSecure ? https : http).request({
      ...(isSecure ? this.#secure : {}),
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port || (isSecure ? 443 : 80),
      method: 'CONNECT',
      path: address,
      headers: { host: address, 'user-agent': 'bkcache', ...proxyAuthorization(proxy) },
      agent: false,
    });
  }
}
