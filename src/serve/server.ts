import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { Body } from './body.js';
import { type App, kindOf } from './app.js';
import { type ListenAddress, originOf } from './address.js';
import { CacheError, isSystemError } from '../errors.js';
import type { ServerLimits } from './limits.js';
import type { Metrics } from './metrics.js';
import { type Answer, ClientGone, textAnswer } from './request.js';
import { send, type Sent } from './send.js';

/** How often idle connections are closed while the server stops, in milliseconds. */
const CLOSE_EVERY = 100;
/** How often Node looks for headers that take too long, in milliseconds. */
const CHECK_EVERY = 30_000;

/** One line of the log: nothing in it lets anybody in. */
export interface RequestLog {
  readonly method: string;
  /** Without the query, in which signatures can be. */
  readonly path: string;
  readonly status: number;
  /** In milliseconds. */
  readonly ms: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly from: string | undefined;
  /** The id of the token. */
  readonly token?: string;
  /** What went wrong, for those who run the server. */
  readonly error?: string;
}

export interface ServerOptions {
  readonly app: App;
  readonly listen: ListenAddress;
  /** PEM. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly limits: ServerLimits;
  readonly metrics: Metrics;
  readonly log: (line: RequestLog) => void;
}

export interface RunningServer {
  /** For clients on this machine. */
  readonly origin: string;
  connections(): number;
  /** Replaces the certificate for new connections. */
  renew(tls: { readonly cert: string; readonly key: string }): void;
  /** Ends when the requests that run have ended; new ones are refused. */
  stop(): Promise<void>;
}

/**
 * Listens, and has each request answered.
 *
 * @throws CacheError USAGE for an address that cannot be used, or a certificate that is none
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { app, listen, tls, limits } = options;
  const server = makeServer(options);
  server.maxConnections = limits.maxConnections;
  // Node ends a request after 300 s, whatever it is doing: slow clients are no fault. Those that stand still are cut off
  // by the timeout of the socket, which every byte in either direction starts again.
  server.requestTimeout = 0;
  server.timeout = limits.stall;
  server.headersTimeout = limits.headers;
  server.keepAliveTimeout = limits.keepAlive;
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const respond = (incoming: IncomingMessage, response: ServerResponse, expects: boolean) =>
    void serve(options, incoming, response, expects);
  server.on('request', (incoming, response) => respond(incoming, response, false));
  // A refused upload is not sent at all where the client asks first.
  server.on('checkContinue', (incoming, response) => respond(incoming, response, true));
  server.on('clientError', (error, socket) => refuseNonsense(error, socket as Socket));
  const port = await listening(server, listen);
  return {
    origin: originOf({ host: listen.host, port }, tls === undefined ? 'http' : 'https'),
    connections: () => sockets.size,
    renew: (renewed) => {
      if ('setSecureContext' in server) server.setSecureContext(renewed);
    },
    async stop() {
      app.stop();
      const closed = once(server, 'close');
      server.close();
      // A connection that was used when this began is idle later.
      const closing = setInterval(() => server.closeIdleConnections(), CLOSE_EVERY);
      server.closeIdleConnections();
      await closed;
      clearInterval(closing);
    },
  };
}

function makeServer({ tls, limits: { maxHeaderSize, headers } }: ServerOptions) {
  const settings = { maxHeaderSize, connectionsCheckingInterval: Math.min(headers, CHECK_EVERY) };
  if (tls === undefined) return createServer(settings);
  try {
    return createTlsServer({ ...tls, ...settings });
  } catch (cause) {
    throw new CacheError('USAGE', `the certificate or its key cannot be used: ${(cause as Error).message}`, {
      hint: '--tls-cert and --tls-key take PEM files that belong together',
      cause,
    });
  }
}

async function listening(server: HttpServer, { host, port }: ListenAddress): Promise<number> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (cause) {
    const reason = isSystemError(cause, 'EADDRINUSE') ? 'another program listens there' : (cause as Error).message;
    throw new CacheError('FAILED', `cannot listen on ${originOf({ host, port }, 'http').slice(7)}: ${reason}`, {
      hint: '--listen takes another address or port',
      cause,
    });
  }
  return (server.address() as AddressInfo).port;
}

/** One request, from its headers to the end of its answer. */
async function serve(
  { app, metrics, log, limits: { stall } }: ServerOptions,
  incoming: IncomingMessage,
  response: ServerResponse,
  expectsContinue: boolean,
): Promise<void> {
  const start = performance.now();
  const method = incoming.method ?? 'GET';
  const [path, query] = splitUrl(incoming.url ?? '/');
  const { socket } = incoming;
  const from = socket.remoteAddress;
  const body = new Body(incoming, response, { stall, expectsContinue });
  let sent: Sent = { status: 0, bytesOut: 0 };
  let token = '';
  let isFound: boolean | undefined;
  let failure: string | undefined;
  try {
    // What the server itself takes long for, such as a sync, is no fault of the client.
    socket.setTimeout(0);
    const { answer, access } = await app.answer({
      method,
      path,
      query: new URLSearchParams(query),
      headers: incoming.headers,
      body,
    });
    token = access.name;
    isFound = answer.found;
    socket.setTimeout(stall);
    if (app.isStopping || body.isUnwanted) response.shouldKeepAlive = false;
    await send(answer, method, response, (now) => (sent = now));
  } catch (error) {
    failure = error instanceof Error ? (error.stack ?? error.message) : 'it is not known why';
    if (error instanceof ClientGone) failure = error.message;
    const isBegun = response.headersSent;
    // Once the answer has begun, only a broken connection tells the client that it is not whole.
    if (isBegun || error instanceof ClientGone) response.destroy();
    else await send(answerFor(error), method, response, (now) => (sent = now)).catch(() => undefined);
  }
  const { status, bytesOut } = sent;
  const ms = performance.now() - start;
  const counted = { method, kind: kindOf(path), status, bytesIn: body.size, bytesOut };
  metrics.count({ ...counted, duration: ms / 1000, found: isFound });
  log({
    method,
    path,
    status,
    ms: Math.round(ms * 10) / 10,
    bytesIn: body.size,
    bytesOut,
    from,
    ...(token === '' ? {} : { token }),
    ...(failure === undefined ? {} : { error: failure }),
  });
}

/** The answer to an error that is not the client's. The client is not told more than what it can do. */
function answerFor(error: unknown): Answer {
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) return textAnswer(507, 'the disk of the store is full');
  if (error instanceof CacheError && error.code === 'BUSY') {
    return textAnswer(503, 'the store is locked by another program', { 'retry-after': '5' });
  }
  return textAnswer(500, 'the server failed; its log says why');
}

/** Answers what is no HTTP, and what takes too long for its headers. */
function refuseNonsense(error: Error, socket: Socket): void {
  if (!socket.writable || isSystemError(error, 'ECONNRESET')) {
    socket.destroy();
    return;
  }
  const code = 'code' in error ? error.code : undefined;
  const status = code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const said = code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : status;
  socket.end(`HTTP/1.1 ${said}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** The path and the query of a request; of a proxy's form of a request, too. */
function splitUrl(url: string): readonly [path: string, query: string] {
  const local = url.replace(/^https?:\/\/[^/]*/i, '');
  const at = local.indexOf('?');
  return at === -1 ? [local, ''] : [local.slice(0, at), local.slice(at + 1)];
}
