import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createSecureServer } from 'node:https';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CacheError } from '../../../src/errors.js';
import { TunnelAgent } from '../../../src/net/http/tunnel.js';
import { type Certificate, makeCertificate } from '../../support/certificate.js';
import { bkcache } from '../../support/command.js';
import { clientFor, HASTY, HEAD, listening, startServer } from '../../support/servers.js';

const MANIFEST = {
  'content-type': 'application/vnd.oci.image.manifest.v1+json',
  'docker-content-digest': `sha256:${'b'.repeat(64)}`,
  'content-length': '2',
};

let folder: string;
let made: Certificate;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bkcache-tunnel-'));
  made = await makeCertificate(folder);
});
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

/** A proxy that answers CONNECT with these bytes, or opens a tunnel to a server. */
async function startProxy(t: ExecutionContext, answer: string | { readonly to: string }) {
  const seen: string[] = [];
  const server = createServer((client) => {
    client
      .on('error', () => undefined)
      .once('data', (bytes) => {
        seen.push(bytes.toString());
        if (typeof answer === 'string') return void client.end(answer);
        const [host, port] = answer.to.split(':');
        const upstream = connect(Number(port), host, () => {
          client.write('HTTP/1.1 200 Connection established\r\n\r\n');
          client.pipe(upstream).pipe(client);
        });
        upstream.on('error', () => client.destroy());
        return undefined;
      });
  });
  return { host: await listening(t, server), seen };
}

const resolve = (proxy: string, args: readonly string[] = []) =>
  bkcache(
    ['resolve', 'registry.test/team/cache', ...args, '--username', 'me', '--password-stdin'],
    {
      HTTPS_PROXY: proxy,
    },
    'secret',
  );

test('a proxy cannot ask for the credentials of the registry', async (t) => {
  const challenge = 'WWW-Authenticate: Bearer realm="https://evil.test/token",service="x"';
  const proxy = await startProxy(t, `HTTP/1.1 401 Unauthorized\r\n${challenge}\r\nContent-Length: 0\r\n\r\n`);
  const { code, stderr } = await resolve(`http://${proxy.host}`);
  t.is(code, 1);
  t.true(stderr.includes(`the proxy ${proxy.host}: it does not connect to registry.test:443: HTTP 401`), stderr);
  t.is(proxy.seen.length, 1);
  t.regex(proxy.seen[0] ?? '', /^CONNECT registry\.test:443 /);
});

test('what a proxy answers is never taken for the answer of the registry', async (t) => {
  const head = Object.entries(MANIFEST).map(([name, value]) => `${name}: ${value}\r\n`);
  for (const [status, hint] of [
    [203, /NO_PROXY/],
    [403, /NO_PROXY/],
    [404, /NO_PROXY/],
    [407, /user:password@/],
  ] as const) {
    const proxy = await startProxy(t, `HTTP/1.1 ${status} Yes\r\n${head.join('')}\r\n{}`);
    const { code, stdout, stderr } = await resolve(`http://${proxy.host}`);
    t.is(code, 1);
    t.is(stdout, '');
    t.true(
      stderr.includes(`the proxy ${proxy.host}: it does not connect to registry.test:443: HTTP ${status}`),
      stderr,
    );
    t.regex(stderr, hint);
    t.is(proxy.seen.length, 1);
  }
});

test('a proxy that nobody can reach, or that has a bad password, is named', async (t) => {
  const gone = await resolve('http://me:secret@127.0.0.1:1');
  t.is(gone.code, 1);
  t.regex(gone.stderr, /the proxy 127\.0\.0\.1:1: nothing listens there \(ECONNREFUSED\)\n {2}hint: check HTTPS_PROXY/);
  t.notRegex(gone.stderr, /secret/);
  const bad = await resolve('http://me:50%off@127.0.0.1:1');
  t.is(bad.code, 2);
  t.regex(bad.stderr, /HTTPS_PROXY is not the address of a proxy/);
  t.notRegex(bad.stderr, /50%/);
});

test('inside of a tunnel the certificate is that of the registry, and is checked', async (t) => {
  const authorizations = new Set<string | undefined>();
  const server = createSecureServer({ key: readFileSync(made.key), cert: readFileSync(made.certificate) });
  server.on('request', ({ headers: { authorization } }, answer) => {
    authorizations.add(authorization);
    if (authorization !== undefined) answer.writeHead(200, MANIFEST).end();
    else answer.writeHead(401, { 'www-authenticate': 'Basic realm="tests"' }).end();
  });
  t.teardown(() => server.closeAllConnections());
  const proxy = await startProxy(t, { to: await listening(t, server) });
  const refused = await resolve(`http://${proxy.host}`);
  t.is(refused.code, 1);
  t.regex(refused.stderr, /its certificate is not trusted/);
  t.is(authorizations.size, 0);
  const trusted = await resolve(`http://a:b%40c@${proxy.host}`, ['--registry-ca', made.certificate]);
  t.is(trusted.code, 0, trusted.stderr);
  t.deepEqual([...authorizations], [undefined, `Basic ${Buffer.from('me:secret').toString('base64')}`]);
  t.true(proxy.seen.at(-1)?.includes(`proxy-authorization: Basic ${Buffer.from('a:b@c').toString('base64')}`));
});

test('a registry outside sends nobody to this machine or into a private network', async (t) => {
  const inside = await startServer(t, (_, answer) => answer.end());
  const port = inside.host.split(':')[1];
  let location = '';
  const server = createSecureServer({ key: readFileSync(made.key), cert: readFileSync(made.certificate) });
  server.on('request', ({ url }, answer) => {
    if (url?.startsWith('/v2/')) answer.writeHead(307, { location }).end();
    else answer.writeHead(404).end();
  });
  t.teardown(() => server.closeAllConnections());
  const proxy = await startProxy(t, { to: await listening(t, server) });
  for (const [to, expected] of [
    [`https://127.0.0.1:${port}/x`, /127\.0\.0\.1 is an address of a private network or of this machine/],
    [`https://localhost:${port}/x`, / is an address of a private network or of this machine/],
    ['https://169.254.169.254/x', /169\.254\.169\.254 is an address of a private network/],
    [`http://127.0.0.1:${port}/x`, /it leads from https to http:\/\/127\.0\.0\.1:\d+, without encryption/],
  ] as const) {
    location = to;
    const { code, stderr } = await resolve(`http://${proxy.host}`, ['--registry-ca', made.certificate]);
    t.is(code, 1);
    t.regex(stderr, expected);
    t.regex(stderr, /^bkcache: import: registry\.test\/team\/cache: cannot find latest: /);
    t.regex(stderr, /hint: registry\.insecure=true/);
  }
  t.is(inside.seen.length, 0);
});

test('a tunnel that does not open is given up with the client', async (t) => {
  const proxy = createServer();
  const host = await listening(t, proxy);
  const agent = new TunnelAgent({ proxy: new URL(`http://${host}`), connectTimeout: 60_000 });
  const connected = once(proxy, 'connection');
  const failed = new Promise((resolve) => {
    agent.createConnection({ host: 'registry.test', port: 443 }, resolve);
  });
  const [socket] = (await connected) as [Socket];
  agent.destroy();
  t.true((await failed) instanceof Error);
  socket.destroy();
});

test('a proxy that is busy is tried again', async (t) => {
  const proxy = await startProxy(t, 'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n');
  // Every other test here has one of its own for the command that it runs.
  process.env['HTTPS_PROXY'] = `http://${proxy.host}`;
  const error = await t.throwsAsync(clientFor(t, 'registry.test').request(HEAD), { instanceOf: CacheError });
  t.regex(error.message, /the proxy \S+: it does not connect to registry\.test:443: HTTP 503; tried 4 times$/);
  t.is(error.side, 'import');
  t.is(proxy.seen.length, HASTY.attempts);
});

test('a proxy for plain HTTP that wants credentials is named, too', async (t) => {
  const proxy = await startServer(t, (_, answer) => answer.writeHead(407).end());
  const { code, stderr } = await bkcache(['resolve', 'type=registry,ref=registry.test/a,registry.insecure=true'], {
    HTTPS_PROXY: '',
    HTTP_PROXY: `http://${proxy.host}`,
  });
  t.is(code, 1);
  t.true(stderr.includes(`the proxy ${proxy.host}: it does not connect to registry.test: HTTP 407`), stderr);
  t.regex(stderr, /user:password@/);
});
