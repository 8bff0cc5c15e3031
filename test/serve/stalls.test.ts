import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { sha256 } from '../../src/oci/digest.js';
import { DEFAULT_LIMITS } from '../../src/serve/limits.js';
import { dial, isClosedWithin, LARGE, push, startServing, until } from '../support/serving.js';

// One after the other: each looks at the clock.

test.serial('an upload whose client stands still is cut off, and its bytes stay for a while', async (t) => {
  const { port, origin } = await startServing(t, { limits: { stall: 1000 } });
  const { headers } = await fetch(`${origin}/v2/team/app/blobs/uploads/`, { method: 'POST' });
  const location = headers.get('location') ?? '';
  const head = `PATCH ${location} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n`;
  const { socket } = await dial(t, port, `${head}0123456789`);
  t.true(await isClosedWithin(socket, 5000));
  const status = await fetch(`${origin}${location}`);
  t.deepEqual([status.status, status.headers.get('range')], [204, '0-9']);
});

test.serial('a slow upload is not cut off, however long it takes', async (t) => {
  const { origin, port } = await startServing(t, { limits: { stall: 1000, headers: 1000, keepAlive: 1000 } });
  const { headers } = await fetch(`${origin}/v2/team/app/blobs/uploads/`, { method: 'POST' });
  const head = `PUT ${headers.get('location')}?digest=${sha256('0123456789abcdef')} HTTP/1.1\r\nHost: localhost\r\n`;
  const { socket, read } = await dial(t, port, `${head}Content-Length: 16\r\n\r\n`);
  for (const byte of '0123456789abcdef') {
    await sleep(200);
    socket.write(byte);
  }
  await until(() => read() !== '');
  t.regex(read(), /^HTTP\/1\.1 201 /);
});

test.serial('a download whose client stands still is cut off, and one that is slow is not', async (t) => {
  const { origin, port, log } = await startServing(t, { limits: { stall: 1000 } });
  const { pathname } = new URL(await push(origin, LARGE));
  const ask = `GET ${pathname} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  const still = await dial(t, port, ask);
  still.socket.pause();
  const slow = connect(port, '127.0.0.1');
  t.teardown(() => slow.destroy());
  slow.write(ask);
  let size = 0;
  const ended = (async () => {
    for await (const chunk of slow) {
      size += (chunk as Buffer).length;
      // Much longer than the limit, all together.
      if (size < 4_000_000) await sleep(40);
      if (size > LARGE.length) break;
    }
  })();
  await ended;
  t.true(size > LARGE.length);
  const cut = () => log.find(({ method, error }) => method === 'GET' && error === 'the client went away');
  await until(() => cut() !== undefined);
  t.truthy(cut());
});

test.serial('connections stay open between requests for longer than a minute, and requests have no time limit', (t) => {
  t.true(DEFAULT_LIMITS.keepAlive > 60_000);
});

test.serial('an idle connection is closed after its time, and not before', async (t) => {
  const { port } = await startServing(t, { limits: { keepAlive: 1500, stall: 200 } });
  const { socket, read } = await dial(t, port, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await sleep(700);
  t.false(socket.closed);
  socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await until(() => read().match(/HTTP\/1\.1 200/g)?.length === 2);
  t.is(read().match(/HTTP\/1\.1 200/g)?.length, 2);
  t.true(await isClosedWithin(socket, 5000));
});
