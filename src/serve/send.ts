import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type Answer, ClientGone } from './request.js';

/** What went out. */
export interface Sent {
  readonly status: number;
  /** Of the body. */
  readonly bytesOut: number;
}

/**
 * Sends an answer, as fast as the client takes it.
 *
 * @param onHead - called once the status can no longer be changed
 * @throws ClientGone; what the stream of the answer throws
 */
export async function send(
  { status, headers = {}, body }: Answer,
  method: string,
  response: ServerResponse,
  onBytes: (sent: Sent) => void,
): Promise<void> {
  const isStream = body !== undefined && !(body instanceof Uint8Array);
  const length = body instanceof Uint8Array ? { 'content-length': `${body.length}` } : {};
  const hasBody = method !== 'HEAD' && status !== 204 && status !== 304;
  try {
    if (response.destroyed) throw gone();
    response.writeHead(status, { ...length, ...withLists(headers) });
    onBytes({ status, bytesOut: 0 });
    if (!hasBody || body === undefined) {
      response.end();
    } else if (body instanceof Uint8Array) {
      response.end(body);
      onBytes({ status, bytesOut: body.length });
    } else {
      let bytesOut = 0;
      for await (const chunk of body.bytes()) {
        if (!response.write(chunk)) await drained(response);
        bytesOut += chunk.length;
        onBytes({ status, bytesOut });
      }
      response.end();
    }
    if (!response.writableFinished) await finished(response);
  } finally {
    if (isStream) await body[Symbol.asyncDispose]();
  }
}

function withLists(headers: NonNullable<Answer['headers']>): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
  );
}

async function drained(response: ServerResponse): Promise<void> {
  await orClosed(response, 'drain');
}

async function finished(response: ServerResponse): Promise<void> {
  await orClosed(response, 'finish');
}

/** @throws ClientGone when the connection ends first */
async function orClosed(response: ServerResponse, event: 'drain' | 'finish'): Promise<void> {
  if (response.destroyed) throw gone();
  const waiting = new AbortController();
  const { signal } = waiting;
  try {
    const isClosed = once(response, 'close', { signal }).then(() => true);
    const isDone = once(response, event, { signal }).then(() => false);
    isClosed.catch(() => undefined);
    isDone.catch(() => undefined);
    if ((await Promise.race([isDone, isClosed])) && !response.writableFinished) throw gone();
  } finally {
    waiting.abort();
  }
}

function gone(): ClientGone {
  return new ClientGone('the client went away');
}
