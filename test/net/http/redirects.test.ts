import { readFileSync } from 'node:fs';
import { createServer as createSecureServer } from 'node:https';
import type { IncomingMessage } from 'node:http';
import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { isSameService, namedAddress } from '../../../src/net/http/named-address.js';
import { contentOf } from '../../../src/oci/content.js';
import { makeCertificate } from '../../support/certificate.js';
import { temporary } from '../../support/fixtures.js';
import { clientFor, HEAD, isProbe, listening, startServer } from '../../support/servers.js';

const refused = { instanceOf: CacheError };

async function textOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

test('redirects are followed for every method, with what was sent', async (t) => {
  for (const status of [301, 302, 303, 307, 308]) {
    for (const method of ['GET', 'HEAD', 'POST', 'PATCH', 'PUT'] as const) {
      let got = '';
      const { host } = await startServer(t, (incoming, answer) => {
        if (isProbe(incoming)) return void answer.end();
        if (incoming.url !== '/there') return void answer.writeHead(status, { location: '/there' }).end();
        void textOf(incoming).then((text) => {
          got = `${incoming.method} ${text}`;
          answer.writeHead(method === 'PUT' ? 201 : 200).end();
        });
        return undefined;
      });
      const hasBody = method !== 'GET' && method !== 'HEAD';
      const body = hasBody ? { body: () => contentOf(Buffer.from('bytes')).open() } : {};
      const response = await clientFor(t, host).request({ ...HEAD, method, ...body });
      t.true(response.status < 300);
      t.is(response.url.pathname, '/there');
      const expected = status === 303 && method !== 'HEAD' ? 'GET ' : `${method} ${hasBody ? 'bytes' : ''}`;
      t.is(got, expected, `${status} ${method}`);
    }
  }
});

test('a redirect that never ends, or leads out of HTTP, is an error that says which request it was', async (t) => {
  for (const [location, message] of [
    ['/again', /cannot find main: it redirects more than 10 times$/],
    [
      'file:///etc/passwd',
      /cannot find main: it names "file:\/\/\/etc\/passwd" as the next address, which is not an HTTP URL/,
    ],
    ['s3://bucket/key', /cannot find main: it names "s3:/],
    ['http://', /cannot find main: it names "http:\/\/" as the next address, which is not a URL$/],
    ['http://user:secret@:x/?signature=secret', /cannot find main: it names "http:\/\/:x\/" as/],
  ] as const) {
    const { host } = await startServer(t, (incoming, answer) => {
      if (isProbe(incoming)) answer.end();
      else answer.writeHead(302, { location }).end();
    });
    const client = clientFor(t, host);
    for (const method of ['GET', 'PUT'] as const) {
      const error = await t.throwsAsync(client.request({ ...HEAD, method }), { ...refused, message });
      t.like(error, { code: 'UNREACHABLE', side: 'import' });
    }
    const response = { method: 'GET', status: 202, headers: {}, url: new URL(`http://${host}/`) } as never;
    if (location === '/again') continue;
    t.throws(() => client.addressIn(location, response, HEAD), { message });
    t.throws(() => client.addressIn(undefined, response, HEAD), { message: /cannot find main: it does not say where/ });
  }
});

test('credentials go to one service: not to another port, host or down to plain HTTP', (t) => {
  const at = (text: string) => new URL(text);
  t.true(isSameService(at('https://a.test/x'), at('https://a.test:443/y')));
  t.true(isSameService(at('http://a.test/'), at('https://a.test/')));
  t.true(isSameService(at('http://a.test:5000/'), at('https://a.test:5000/')));
  t.false(isSameService(at('http://a.test:5000/'), at('https://a.test/')));
  t.false(isSameService(at('https://a.test/'), at('http://a.test/')));
  t.false(isSameService(at('https://a.test/'), at('https://b.test/')));
  t.false(isSameService(at('https://a.test/'), at('https://a.test:8443/')));
});

test('TLS is not given up, but for a name of its own host', (t) => {
  const from = new URL('https://a.test:5000/v2/');
  const address = (text: string, allowPlain = false) => namedAddress(text, from, { allowPlain }).href;
  t.is(address('/v2/x?y'), 'https://a.test:5000/v2/x?y');
  t.is(address('http://a.test/v2/x?y'), 'https://a.test:5000/v2/x?y');
  t.is(address('https://b.test/x'), 'https://b.test/x');
  t.is(address('http://b.test/x', true), 'http://b.test/x');
  t.like(
    t.throws(() => address('http://b.test/x?secret'), refused),
    { code: 'DENIED' },
  );
});

test('a registry with TLS does not send on to plain HTTP', async (t) => {
  const made = await makeCertificate(temporary(t));
  const plain = await startServer(t, (_, answer) => answer.end());
  const server = createSecureServer({ key: readFileSync(made.key), cert: readFileSync(made.certificate) });
  // By another name, since one's own is taken for a slip.
  const location = `http://localhost:${plain.host.split(':')[1]}/blob`;
  server.on('request', (_, answer) => answer.writeHead(307, { location }).end());
  t.teardown(() => server.closeAllConnections());
  const host = (await listening(t, server)).replace('127.0.0.1', '127.1');
  const client = clientFor(t, host, { ca: made.certificate });
  const error = await t.throwsAsync(client.request({ ...HEAD, method: 'GET' }), refused);
  t.is(plain.seen.length, 0);
  t.is(error.code, 'DENIED');
  t.regex(error.message, /cannot find main: it leads from https to http:.* without encryption$/);
});

test('a token server is followed where it moved, and a secret in a body stays with it', async (t) => {
  const elsewhere = await startServer(t, (_, answer) => answer.end('{"token":"T"}'));
  for (const [credentials, to, code] of [
    [{ username: 'me', password: 'my password' }, '/real', undefined],
    [{ identityToken: 'my identity' }, '/real', undefined],
    [{ username: 'me', password: 'my password' }, `http://${elsewhere.host}/real`, undefined],
    [{ identityToken: 'my identity' }, `http://${elsewhere.host}/real`, 'DENIED'],
  ] as const) {
    const said: string[] = [];
    const { host } = await startServer(t, (incoming, answer) => {
      const { authorization } = incoming.headers;
      if (isProbe(incoming)) answer.end();
      else if (incoming.url?.startsWith('/token')) answer.writeHead(301, { location: to }).end();
      else if (incoming.url === '/real') {
        void textOf(incoming).then((text) => {
          said.push(`${incoming.method} ${authorization ?? text}`);
          answer.writeHead(201).end('{"token":"T"}');
        });
      } else if (authorization === 'Bearer T') answer.end();
      else {
        const challenge = `Bearer realm="http://${host}/token",service="x"`;
        answer.writeHead(401, { 'www-authenticate': challenge }).end();
      }
    });
    const client = clientFor(t, host, { lookUp: () => Promise.resolve({ credentials }) });
    if (code === undefined) {
      t.is((await client.request(HEAD)).status, 200);
      if (to === '/real') t.regex(said[0] ?? '', 'password' in credentials ? /^GET Basic / : /^POST .*my\+identity/);
    } else t.is((await t.throwsAsync(client.request(HEAD), refused)).code, code);
  }
  t.is(elsewhere.seen.length, 1);
});

test('nothing that a token server answers is shown', async (t) => {
  for (const status of [400, 401, 403, 418]) {
    const { host } = await startServer(t, (incoming, answer) => {
      if (isProbe(incoming)) answer.end();
      else if (incoming.url?.startsWith('/token')) answer.writeHead(status).end('{"token":"SECRET"}');
      else answer.writeHead(401, { 'www-authenticate': `Bearer realm="http://${host}/token"` }).end();
    });
    const error = await t.throwsAsync(clientFor(t, host).request(HEAD), refused);
    t.regex(error.message, new RegExp(`its token server ${host} refuses: HTTP ${status}$`));
    t.notRegex(`${error.hint} ${error.stack} ${String(error.cause)}`, /SECRET/);
    t.is(error.code, 'DENIED');
  }
});

test('a public registry cannot send into a private network', async (t) => {
  const inside = await startServer(t, (_, answer) => answer.end('inside'));
  const port = inside.host.split(':')[1] ?? '';
  const outside = new URL('https://192.0.2.1/v2/');
  const { HttpClient } = await import('../../../src/net/http/http.js');
  const http = new HttpClient({ verify: true });
  t.teardown(() => http[Symbol.asyncDispose]());
  for (const hostname of ['127.0.0.1', 'localhost', '[::ffff:127.0.0.1]']) {
    const url = new URL(`http://${hostname}:${port}/`);
    const error = await t.throwsAsync(http.send({ method: 'GET', url, namedBy: outside }));
    t.like(error, { cause: { code: 'DENIED' } }, hostname);
  }
  t.is(inside.seen.length, 0);
  // Who is inside may name what is inside, and so may anybody whose certificates do not count.
  const url = new URL(`http://localhost:${port}/`);
  t.is((await http.send({ method: 'GET', url, namedBy: new URL('http://10.1.2.3/') })).status, 200);
  const insecure = new HttpClient({ verify: false });
  t.teardown(() => insecure[Symbol.asyncDispose]());
  t.is((await insecure.send({ method: 'GET', url, namedBy: outside })).status, 200);
});
