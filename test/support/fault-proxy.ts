import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

/** What goes wrong with a request. */
export type Fault =
  | { readonly kind: 'delay'; readonly milliseconds: number }
  /** Answers in the place of the server. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** Breaks both connections after this many bytes of the request's body. */
  | { readonly kind: 'cut-request'; readonly bytes: number }
  /** Breaks the connection after this many bytes of the answer's body. */
  | { readonly kind: 'cut-answer'; readonly bytes: number }
  /** Does what was asked, and never says so. */
  | { readonly kind: 'lose-answer' }
  /** Flips a bit of the answer's body. */
  | { readonly kind: 'flip'; readonly at: number };

export interface FaultProxy {
  readonly host: string;
  /** Every request, in order. */
  readonly seen: SeenRequest[];
  /** Decides what goes wrong; nothing by default. */
  fault: (request: SeenRequest) => Fault | undefined;
  stop(): void;
}

/** Stands before a server, and does to its traffic what a network can do. */
export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const server = createServer((incoming, answer) => {
    void (async () => {
      const { method = '', url: path = '', headers } = incoming;
      const seen = { method, path, headers };
      proxy.seen.push(seen);
      await pass(upstream, incoming, answer, proxy.fault(seen));
    })();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = address !== null && typeof address !== 'string' ? address.port : 0;
  const proxy: FaultProxy = {
    host: `127.0.0.1:${port}`,
    seen: [],
    fault: () => undefined,
    stop: () => server.close().closeAllConnections(),
  };
  return proxy;
}

async function pass(
  upstream: string,
  incoming: IncomingMessage,
  answer: ServerResponse,
  fault: Fault | undefined,
): Promise<void> {
  if (fault?.kind === 'answer') {
    incoming.resume();
    answer.writeHead(fault.status, fault.headers).end(fault.body);
    return;
  }
  if (fault?.kind === 'delay') await sleep(fault.milliseconds);
  const [hostname = '', port] = upstream.split(':');
  const { method, url: path, headers } = incoming;
  const outgoing = request({ hostname, port: Number(port), method, path, headers, agent: false });
  outgoing.on('error', () => incoming.socket.destroy());
  let received = 0;
  incoming.on('data', (chunk: Buffer) => {
    const rest = fault?.kind === 'cut-request' ? fault.bytes - received : Infinity;
    received += chunk.length;
    outgoing.write(chunk.subarray(0, rest));
    if (chunk.length < rest) return;
    // After what was written has left.
    setTimeout(() => outgoing.destroy(), 100);
    incoming.pause();
  });
  incoming.on('end', () => outgoing.end());
  const [response] = (await once(outgoing, 'response').catch(() => [])) as [IncomingMessage?];
  if (response === undefined) return;
  if (fault?.kind === 'lose-answer') {
    response.resume();
    incoming.socket.destroy();
    return;
  }
  answer.writeHead(response.statusCode ?? 0, response.headers);
  let sent = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    if (fault?.kind === 'flip' && fault.at >= sent && fault.at < sent + chunk.length) {
      chunk[fault.at - sent] = (chunk[fault.at - sent] ?? 0) ^ 1;
    }
    const rest = fault?.kind === 'cut-answer' ? fault.bytes - sent : Infinity;
    sent += chunk.length;
    answer.write(chunk.subarray(0, rest));
    if (chunk.length >= rest) {
      setTimeout(() => incoming.socket.destroy(), 50);
      return;
    }
  }
  answer.end();
}
