import { readFileSync } from 'node:fs';
import { createServer as createSecureServer } from 'node:https';
import { createServer, type Socket } from 'node:net';
import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { HttpClient } from '../../../src/net/http/http.js';
import { findAddress } from '../../../src/net/registry/registry-address.js';
import { makeCertificate } from '../../support/certificate.js';
import { temporary } from '../../support/fixtures.js';
import { clientFor, HEAD, HASTY, isProbe, listening, startServer } from '../../support/servers.js';

const refused = { instanceOf: CacheError };
/** This machine by a name that is not known to be this machine's. */
const ELSEWHERE = '127.1';
const fault = (code: string, message: string) => JSON.stringify({ errors: [{ code, message }] });

test('a first connection that is cut does not make plain HTTP into TLS', async (t) => {
  let connections = 0;
  const { host } = await startServer(t, (_, answer) => {
    if (connections++ === 0) answer.socket?.destroy();
    else answer.writeHead(200).end();
  });
  t.is((await clientFor(t, host).request(HEAD)).status, 200);
});

test('a cut or silent TLS handshake is no reason to speak plain HTTP where that is allowed', async (t) => {
  const said: string[] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket
      .on('error', () => undefined)
      .once('data', (bytes) => {
        said.push(bytes.subarray(0, 1).toString('hex'));
        if (said.length === 1) socket.resetAndDestroy();
      });
  });
  const port = (await listening(t, server)).split(':')[1];
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  const http = new HttpClient({ verify: false, connectTimeout: 1000 });
  for (const code of ['ECONNRESET', 'ETIMEDOUT']) {
    const found = findAddress({ registry: `${ELSEWHERE}:${port}`, insecure: true }, http, undefined);
    t.like(await t.throwsAsync(found), { cause: { code } });
  }
  // Each began a handshake, and nobody sent a request in plain text.
  t.deepEqual(said, ['16', '16']);
});

test('a registry that is called insecure and speaks no TLS is spoken to in plain HTTP', async (t) => {
  const { host } = await startServer(t, (_, answer) => answer.writeHead(200).end());
  const registry = `${ELSEWHERE}:${host.split(':')[1]}`;
  const http = new HttpClient({ verify: false });
  t.is((await findAddress({ registry, insecure: true }, http, undefined)).href, `http://${host}/`);
});

test('a registry on this machine may speak TLS, whatever it says to plain HTTP', async (t) => {
  const made = await makeCertificate(temporary(t));
  const server = createSecureServer({ key: readFileSync(made.key), cert: readFileSync(made.certificate) });
  server.on('request', (_, answer) => answer.writeHead(200).end());
  t.teardown(() => server.closeAllConnections());
  const registry = await listening(t, server);
  const http = new HttpClient({ verify: true, ca: made.certificate });
  t.is((await findAddress({ registry, insecure: false }, http, undefined)).protocol, 'https:');
});

test('a server that takes connections and says nothing is given up soon', async (t) => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket.on('error', () => undefined)));
  const host = await listening(t, server);
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  const http = new HttpClient({ verify: false, connectTimeout: 200 });
  const start = Date.now();
  const error = await t.throwsAsync(http.send({ method: 'GET', url: new URL(`https://${host}/v2/`) }));
  t.true(Date.now() - start < 1000);
  t.regex(error.message, /nothing moved for 0\.2 s/);
  const stop = AbortSignal.abort(new CacheError('ABORTED', 'enough'));
  await t.throwsAsync(http.send({ method: 'GET', url: new URL(`https://${host}/v2/`), signal: stop }), {
    message: 'enough',
  });
});

test('silence is tried twice where nobody has ever answered', async (t) => {
  const { host, seen } = await startServer(t, (incoming, answer) => {
    if (isProbe(incoming)) answer.writeHead(200).end();
  });
  const unreached = new HttpClient({ verify: true });
  t.teardown(() => unreached[Symbol.asyncDispose]());
  const silent = unreached.send({ method: 'GET', url: new URL(`http://${host}/silent`), timeout: 300 });
  t.like(await t.throwsAsync(silent), { wasReached: false });
  await unreached.send({ method: 'GET', url: new URL(`http://${host}/v2/`) });
  const again = unreached.send({ method: 'GET', url: new URL(`http://${host}/silent`), timeout: 300 });
  t.like(await t.throwsAsync(again), { wasReached: true });
  seen.length = 0;
  const client = clientFor(t, host, { policy: { ...HASTY, longestStall: 600 } });
  const error = await t.throwsAsync(client.request({ ...HEAD, timeout: 300 }), refused);
  t.regex(error.message, /cannot find main: nothing moved for 0\.3 s \(ETIMEDOUT\); tried 2 times$/);
  t.is(seen.length, 3);
});

test('a refused HEAD says what the registry says to the same GET', async (t) => {
  for (const [status, options, expected] of [
    [403, { code: 'DENIED' }, /cannot find main: HTTP 403: DENIED: your plan has expired$/],
    [503, { code: 'UNREACHABLE' }, /cannot find main: HTTP 503; tried 4 times: DENIED: your plan has expired$/],
    [520, { code: 'UNREACHABLE' }, /HTTP 520; tried 4 times: DENIED/],
    [401, { code: 'DENIED' }, /HTTP 401: DENIED: your plan has expired$/],
  ] as const) {
    const { host, seen } = await startServer(t, (incoming, answer) => {
      if (isProbe(incoming)) answer.writeHead(200).end();
      else
        answer.writeHead(status).end(incoming.method === 'HEAD' ? undefined : fault('DENIED', 'your plan has expired'));
    });
    const error = await t.throwsAsync(clientFor(t, host).request(HEAD), refused);
    t.regex(error.message, expected);
    t.like(error, { ...options, side: 'import' });
    t.is(seen.filter((line) => line.startsWith('GET') && line.includes('manifests')).length, 1);
  }
});

test('a HEAD that is refused as such is asked again with GET, from then on at once', async (t) => {
  for (const refusal of [400, 405, 501]) {
    const ranges: (string | undefined)[] = [];
    const { host, seen } = await startServer(t, (incoming, answer) => {
      if (incoming.method === 'GET' && !isProbe(incoming)) ranges.push(incoming.headers.range);
      answer.writeHead(incoming.method === 'HEAD' ? refusal : 200).end();
    });
    const client = clientFor(t, host);
    t.like(await client.request(HEAD), { status: 200, method: 'GET' });
    const blob = { ...HEAD, target: '/v2/team/cache/blobs/sha256:00' };
    t.like(await client.request(blob), { status: 200, method: 'GET' });
    t.deepEqual(ranges, [undefined, 'bytes=0-0']);
    t.is(seen.filter((line) => line.startsWith('HEAD')).length, 1);
  }
});

test('what GET says of a refused HEAD is what is said, and what it has beside a reason changes nothing', async (t) => {
  const { host } = await startServer(t, (incoming, answer) => {
    if (isProbe(incoming)) answer.end();
    else if (incoming.method === 'HEAD') answer.writeHead(incoming.url?.includes('main') ? 400 : 403).end();
    else if (incoming.url?.includes('main')) answer.writeHead(400).end(fault('NAME_INVALID', 'not so'));
    else answer.end('a whole blob');
  });
  const client = clientFor(t, host);
  await t.throwsAsync(client.request(HEAD), { message: /cannot find main: NAME_INVALID: not so \(HTTP 400\)$/ });
  const blob = { ...HEAD, target: '/v2/team/cache/blobs/sha256:00' };
  await t.throwsAsync(client.request(blob), { message: /cannot find main: HTTP 403$/ });
});

test('an answer that switches protocols is an answer that cannot be used', async (t) => {
  const server = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .on('data', (bytes) => {
        const isFirst = bytes.toString().startsWith('GET /v2/ ');
        socket.write(
          isFirst
            ? 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
            : 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n',
        );
      });
  });
  const host = await listening(t, server);
  const error = await t.throwsAsync(clientFor(t, host).request({ ...HEAD, method: 'GET' }), refused);
  t.like(error, { code: 'UNREACHABLE', side: 'import' });
  t.regex(error.message, /cannot find main: HTTP 101$/);
});

test('what another host says, or what repeats a secret, is not shown', async (t) => {
  const other = await startServer(t, (_, answer) => answer.writeHead(403).end(fault('X', 'a secret of the store')));
  const { host } = await startServer(t, (incoming, answer) => {
    const { authorization = '' } = incoming.headers;
    if (isProbe(incoming)) answer.end();
    else if (authorization === '') answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    else if (incoming.url?.includes('main')) answer.writeHead(400).end(fault('BAD', `bad header: ${authorization}`));
    else answer.writeHead(307, { location: `http://${other.host}/store` }).end();
  });
  const credentials = { username: 'somebody', password: 'my-secret-word' };
  const client = clientFor(t, host, { lookUp: () => Promise.resolve({ credentials }) });
  const echo = await t.throwsAsync(client.request({ ...HEAD, method: 'GET' }), refused);
  t.is(echo.message, `${host}/team/cache: cannot find main: HTTP 400`);
  const blob = { ...HEAD, method: 'GET', target: '/v2/team/cache/blobs/sha256:00' } as const;
  const elsewhere = await t.throwsAsync(client.request(blob), refused);
  t.is(elsewhere.message, `${host}/team/cache (by way of ${other.host}): cannot find main: HTTP 403`);
});

test('a header that repeats a secret is not shown either', async (t) => {
  const { host } = await startServer(t, (incoming, answer) => {
    const { authorization = '' } = incoming.headers;
    if (isProbe(incoming)) answer.end();
    else if (authorization === '') answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    else answer.writeHead(307, { location: `gopher://x/${authorization}` }).end();
  });
  const credentials = { username: 'somebody', password: 'my-secret-word' };
  const client = clientFor(t, host, { lookUp: () => Promise.resolve({ credentials }) });
  const error = await t.throwsAsync(client.request({ ...HEAD, method: 'GET' }), refused);
  t.regex(error.message, /cannot find main: its answer cannot be used, and is not shown since it repeats a secret$/);
  t.like(error, { code: 'UNREACHABLE', side: 'import' });
});

test('a pause that is too long to wait for is named', async (t) => {
  const { host } = await startServer(t, (incoming, answer) => {
    answer.writeHead(isProbe(incoming) ? 200 : 429, { 'retry-after': '600' }).end();
  });
  await t.throwsAsync(clientFor(t, host).request(HEAD), { message: /HTTP 429; it asks to wait 600 s$/ });
});

test('only what is asked for can be missing', async (t) => {
  const { host } = await startServer(t, (incoming, answer) => {
    answer.writeHead(isProbe(incoming) ? 200 : 404).end();
  });
  const client = clientFor(t, host);
  t.is((await t.throwsAsync(client.request(HEAD), refused)).code, 'NOT_FOUND');
  t.is((await t.throwsAsync(client.request({ ...HEAD, method: 'GET' }), refused)).code, 'NOT_FOUND');
  t.is((await t.throwsAsync(client.request({ ...HEAD, method: 'POST' }), refused)).code, 'DENIED');
  t.is((await t.throwsAsync(client.request({ ...HEAD, method: 'PUT' }), refused)).code, 'DENIED');
});

test('a token server and the target of a redirect are named when they fail', async (t) => {
  const answers = {
    tokens: { status: 401, headers: { 'www-authenticate': 'Bearer realm="http://127.0.0.1:1/token",service="x"' } },
    redirect: { status: 307, headers: { location: 'http://127.0.0.1:1/blob' } },
  };
  for (const [kind, place] of [
    ['tokens', 'its token server 127.0.0.1:1'],
    ['redirect', 'by way of 127.0.0.1:1'],
  ] as const) {
    const { host } = await startServer(t, (incoming, answer) => {
      const { status, headers } = answers[kind];
      answer.writeHead(isProbe(incoming) ? 200 : status, headers).end();
    });
    const error = await t.throwsAsync(clientFor(t, host).request(HEAD), refused);
    t.is(error.message, `${host}/team/cache: cannot find main: ${place}: nothing listens there (ECONNREFUSED)`);
    t.regex(error.hint ?? '', /the registry names that host/);
    t.is(error.side, 'import');
  }
});
