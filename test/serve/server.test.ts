import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { Agent, get, request as httpRequest, type IncomingMessage } from 'node:http';
import { get as getTls } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { CacheError } from '../../src/errors.js';
import { sha256 } from '../../src/oci/digest.js';
import { newKey, Tokens } from '../../src/serve/tokens.js';
import { collect } from '../../src/bytes/collect.js';
import { makeCertificate } from '../support/certificate.js';
import { temporary } from '../support/fixtures.js';
import { dial, isClosedWithin, LARGE, push, startServing, until } from '../support/serving.js';

test('a large blob goes in and comes out, whole, in ranges and by HEAD', async (t) => {
  const { origin } = await startServing(t);
  const url = await push(origin, LARGE);
  const got = await fetch(url);
  t.true(LARGE.equals(Buffer.from(await got.arrayBuffer())));
  const part = await fetch(url, { headers: { range: 'bytes=1000000-1000009' } });
  t.deepEqual([part.status, await part.text()], [206, 'xxxxxxxxxx']);
  const head = await fetch(url, { method: 'HEAD' });
  t.deepEqual([head.status, head.headers.get('content-length'), await head.text()], [200, `${LARGE.length}`, '']);
});

test('headers that take too long, are too large, or no HTTP, are refused', async (t) => {
  const { port } = await startServing(t, { limits: { headers: 300, maxHeaderSize: 8192 } });
  const slow = await dial(t, port, 'GET / HTTP/1.1\r\nHost: localhost\r\n');
  t.true(await isClosedWithin(slow.socket, 5000));
  const silent = await dial(t, port);
  t.true(await isClosedWithin(silent.socket, 5000));
  const large = await dial(t, port, `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
  t.true(await isClosedWithin(large.socket, 5000));
  t.regex(large.read(), /^HTTP\/1\.1 431 /);
  const nonsense = await dial(t, port, 'what?\r\n\r\n');
  t.true(await isClosedWithin(nonsense.socket, 5000));
  t.regex(nonsense.read(), /^HTTP\/1\.1 400 /);
});

test('paths that lead out of the store lead nowhere', async (t) => {
  const { port } = await startServing(t);
  for (const path of [
    '/../../etc/passwd',
    '/v2/../../etc/passwd',
    '/v2/a/blobs/..%2f..%2fetc%2fpasswd',
    '/%00',
    '//',
    '/v2/%ff',
  ]) {
    const { socket, read } = await dial(
      t,
      port,
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    );
    t.true(await isClosedWithin(socket, 5000));
    t.regex(read(), /^HTTP\/1\.1 40[04] /, path);
  }
});

test('connections over the limit are refused, and others go on', async (t) => {
  const { port } = await startServing(t, { limits: { maxConnections: 2 } });
  const ask = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';
  const [one, two] = [await dial(t, port, ask), await dial(t, port, ask)];
  await sleep(100);
  const third = await dial(t, port, ask);
  t.true(await isClosedWithin(third.socket, 5000));
  t.is(third.read(), '');
  t.regex(one.read() + two.read(), /200[^]*200/);
});

test('a refused upload is not sent at all when its client asks first', async (t) => {
  const { port } = await startServing(t, { isReadOnly: true, store: (await startServing(t)).store });
  const upload = httpRequest({
    port,
    host: '127.0.0.1',
    method: 'POST',
    path: `/v2/team/app/blobs/uploads/?digest=${sha256('x')}`,
    headers: { expect: '100-continue', 'content-length': '1000000' },
  });
  let isAsked = false;
  upload.on('continue', () => (isAsked = true));
  upload.flushHeaders();
  const [answer] = (await once(upload, 'response')) as [IncomingMessage];
  t.deepEqual([answer.statusCode, isAsked], [405, false]);
  upload.destroy();
});

test('an accepted upload is asked for when its client waits', async (t) => {
  const { port } = await startServing(t);
  const upload = httpRequest({
    port,
    host: '127.0.0.1',
    method: 'POST',
    path: `/v2/team/app/blobs/uploads/?digest=${sha256('x')}`,
    headers: { expect: '100-continue', 'content-length': '1' },
  });
  upload.on('continue', () => upload.end('x'));
  upload.flushHeaders();
  const [answer] = (await once(upload, 'response')) as [IncomingMessage];
  t.is(answer.statusCode, 201);
  await collect(answer);
});

test('a client that is killed in its upload leaves nothing', async (t) => {
  const { port, store, log } = await startServing(t);
  const path = `/v2/team/app/blobs/uploads/?digest=${sha256('x'.repeat(100))}`;
  const { socket } = await dial(t, port, `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nxxx`);
  await sleep(100);
  socket.destroy();
  await until(() => log.length > 0);
  t.is(log[0]?.error, 'the client went away');
  t.deepEqual(readdirSync(join(store, 'blobs', 'sha256')), []);
  t.deepEqual(
    readdirSync(join(store, '.bkcache')).filter((name) => name.includes('.')),
    [],
  );
});

test('a server that stops ends what runs, refuses what is new, and waits for nobody who is idle', async (t) => {
  const { origin, port, stop, store } = await startServing(t);
  const url = await push(origin, LARGE);
  const idle = await dial(t, port, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const answer = await new Promise<IncomingMessage>((resolve) => get(url, { agent }, resolve));
  const stopped = stop();
  await sleep(50);
  await t.throwsAsync(fetch(`${origin}/healthz`));
  t.true(LARGE.equals(await collect(answer)));
  await stopped;
  t.true(await isClosedWithin(idle.socket, 1000));
  t.false(readdirSync(store).includes('.bkcache'));
});

test('TLS, with a certificate that can be renewed', async (t) => {
  const { key, certificate } = await makeCertificate(temporary(t));
  const tls = { cert: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
  const { origin, renew } = await startServing(t, { tls });
  const serial = async (ca: string) => {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      getTls(`${origin}/healthz`, { ca, agent: false }, resolve).on('error', reject);
    });
    await collect(answer);
    return answer.statusCode;
  };
  t.regex(origin, /^https:/);
  t.is(await serial(tls.cert), 200);
  const other = await makeCertificate(temporary(t));
  const renewed = { cert: readFileSync(other.certificate, 'utf8'), key: readFileSync(other.key, 'utf8') };
  renew(renewed);
  t.is(await serial(renewed.cert), 200);
  await t.throwsAsync(serial(tls.cert));
  const wrong = startServing(t, { tls: { cert: tls.cert, key: renewed.key } });
  t.is((await t.throwsAsync(wrong, { instanceOf: CacheError })).code, 'USAGE');
});

test('an address that is taken is told', async (t) => {
  const { port } = await startServing(t);
  const error = await t.throwsAsync(startServing(t, { listen: { host: '127.0.0.1', port } }), {
    instanceOf: CacheError,
  });
  t.deepEqual(
    [error.code, error.message],
    ['FAILED', `cannot listen on 127.0.0.1:${port}: another program listens there`],
  );
});

test('the log has a line for each request, with the id of the token and no secret', async (t) => {
  const tokens = new Tokens(newKey(), 'key');
  const { origin, log } = await startServing(t, { tokens });
  const token = tokens.sign([{ action: 'write', repositories: ['*'] }], 60_000);
  await fetch(`${origin}/v2/team/app/tags/list?secret=hidden`, { headers: { authorization: `Bearer ${token}` } });
  await fetch(`${origin}/v2/`, { headers: { authorization: `Basic ${Buffer.from('a:hidden').toString('base64')}` } });
  await until(() => log.length >= 2);
  t.is(log.length, 2);
  const text = JSON.stringify(log);
  for (const secret of [token, token.split('.')[2] ?? '', 'hidden']) t.false(text.includes(secret));
  t.like(log[0], { method: 'GET', path: '/v2/team/app/tags/list', status: 404, from: '127.0.0.1' });
  t.regex(log[0]?.token ?? '', /^[0-9a-f-]{36}$/);
  t.like(log[1], { status: 401 });
});

test('metrics tell requests, bytes, hits and misses, and the size of the store', async (t) => {
  const { origin } = await startServing(t);
  const url = await push(origin, '0123456789');
  await (await fetch(url)).text();
  await (await fetch(`${origin}/v2/team/app/blobs/${sha256('missing')}`)).text();
  let page = '';
  for (let waited = 0; !page.includes('\nbkcache_store_bytes 10') && waited < 5000; waited += 50) {
    page = await (await fetch(`${origin}/metrics`)).text();
    await sleep(50);
  }
  for (const line of [
    'bkcache_requests_total{method="GET",kind="blobs",status="200"} 1',
    'bkcache_requests_total{method="POST",kind="uploads",status="201"} 1',
    'bkcache_lookups_total{kind="blobs",result="hit"} 1',
    'bkcache_lookups_total{kind="blobs",result="miss"} 1',
    'bkcache_bytes_total{direction="in"} 10',
    'bkcache_open_uploads 0',
    'bkcache_store_bytes 10',
  ]) {
    t.true(page.includes(`\n${line}\n`), line);
  }
  t.regex(page, /\nbkcache_connections [1-9]/);
  t.regex(page, /\nprocess_open_fds /);
});
