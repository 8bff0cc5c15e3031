import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { DEFAULT_LAYOUT_SETTINGS } from '../../src/layout/settings.js';
import { sha256 } from '../../src/oci/digest.js';
import type { ServerLimits } from '../../src/serve/limits.js';
import { serve, type ServeOptions } from '../../src/serve/serve.js';
import type { RequestLog } from '../../src/serve/server.js';
import { temporary } from './fixtures.js';
import { LIMITS } from './served.js';

// bkcache serve in the process of a test, with sockets.

/** Larger than what sockets buffer. */
export const LARGE = Buffer.alloc(32 * 1024 * 1024, 'x');

type Options = Partial<Omit<ServeOptions, 'limits'>> & { readonly limits?: Partial<ServerLimits> };

/** Serves a new folder until the test has ended. */
export async function startServing(t: ExecutionContext, { limits = {}, ...options }: Options = {}) {
  const store = join(temporary(t), 'store');
  const log: RequestLog[] = [];
  const serving = await serve({
    store,
    layout: { ...DEFAULT_LAYOUT_SETTINGS, durable: false },
    listen: { host: '127.0.0.1', port: 0 },
    services: { registry: true, gha: options.tokens !== undefined },
    isReadOnly: false,
    isPublic: false,
    limits: { ...LIMITS, ...limits },
    onRequest: (line) => log.push(line),
    onError: (error) => t.fail(String(error)),
    ...options,
  });
  let stopping: Promise<void> | undefined;
  const stop = () => (stopping ??= serving.stop());
  t.teardown(stop);
  return { ...serving, stop, store, log, port: Number(new URL(serving.origin).port) };
}

/** Pushes a blob, and returns its URL. */
export async function push(origin: string, bytes: Uint8Array | string): Promise<string> {
  const digest = sha256(bytes);
  const url = `${origin}/v2/team/app/blobs/uploads/?digest=${digest}`;
  const { status } = await fetch(url, { method: 'POST', body: bytes });
  if (status !== 201) throw new Error(`the push was answered with ${status}`);
  return `${origin}/v2/team/app/blobs/${digest}`;
}

/** A connection on which a test writes by hand. */
export async function dial(
  t: ExecutionContext,
  port: number,
  text = '',
): Promise<{ socket: Socket; read: () => string }> {
  const socket = connect(port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  let read = '';
  socket.on('data', (chunk: Buffer) => (read += chunk.toString('latin1')));
  await once(socket, 'connect');
  if (text !== '') socket.write(text);
  return { socket, read: () => read };
}

export async function isClosedWithin(socket: Socket, ms: number): Promise<boolean> {
  if (socket.closed) return true;
  return Promise.race([once(socket, 'close').then(() => true), sleep(ms).then(() => false)]);
}

/** Waits until something holds, for some seconds. */
export async function until(holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds() && waited < 10_000; waited += 20) await sleep(20);
}
