import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type Server } from '../support/process.js';
import { startRegistry } from '../support/docker-registry.js';
import { makeCertificate } from '../support/certificate.js';
import { bkcache } from '../support/command.js';
import { startFaultProxy } from '../support/fault-proxy.js';
import { importOf } from '../support/fixtures.js';
import { withRegistries } from './places.js';

withRegistries(() => {
  let folder: string;
  let registry: Server;
  let certificate: string;
  test.before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'bkcache-registry-'));
    const made = await makeCertificate(folder);
    certificate = made.certificate;
    registry = await startRegistry(join(folder, 'registry'), { tls: made });
  });
  test.after.always(async () => {
    await registry.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const copyTo = (ref: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}) =>
    bkcache(
      ['copy', '--import-cache', importOf('max-gzip'), '--export-cache', `type=registry,ref=${ref}`, ...args],
      env,
    );

  test('a certificate of a stranger is refused, and trusted where that is asked for', async (t) => {
    const ref = `${registry.host}/cache`;
    const refused = await copyTo(ref);
    t.is(refused.code, 1);
    t.regex(refused.stderr, /its certificate is not trusted: .*\(DEPTH_ZERO_SELF_SIGNED_CERT\)/);
    t.regex(refused.stderr, /--registry-ca/);
    t.is((await copyTo(ref, ['--registry-ca', certificate])).code, 0);
    t.is((await copyTo(ref, [], { NODE_EXTRA_CA_CERTS: certificate })).code, 0);
    t.is((await copyTo(ref, [], { SSL_CERT_FILE: certificate })).code, 0);
    t.is((await copyTo(`${ref},registry.insecure=true`)).code, 0);
    const none = await copyTo(ref, ['--registry-ca', importOf('max-gzip')]);
    t.is(none.code, 2);
    const other = await copyTo(ref, ['--registry-ca', join(folder, 'registry', 'config.yml')]);
    t.is(other.code, 2);
    t.regex(other.stderr, /no certificates in PEM form/);
  });

  test('a proxy is used, with its password, and not for what NO_PROXY names', async (t) => {
    const seen: (string | undefined)[] = [];
    const port = Number(registry.host.split(':')[1]);
    const proxy = createServer().listen(0, '127.0.0.1');
    proxy.on('connect', ({ url, headers }, client) => {
      seen.push(`${url} ${headers['proxy-authorization']}`);
      const server = connect(port, '127.0.0.1', () => {
        client.write('HTTP/1.1 200 OK\r\n\r\n');
        server.pipe(client).pipe(server);
      });
      for (const end of [client, server]) end.on('error', () => end.destroy());
    });
    await once(proxy, 'listening');
    t.teardown(() => proxy.close().closeAllConnections());
    const address = proxy.address() as { port: number };
    const env = { HTTPS_PROXY: `http://me:p%40ss@127.0.0.1:${address.port}` };
    const through = await copyTo('registry.test/cache', ['--registry-ca', certificate], env);
    t.is(through.code, 0, through.stderr);
    const expected = `registry.test:443 Basic ${Buffer.from('me:p@ss').toString('base64')}`;
    t.deepEqual([...new Set(seen)], [expected]);
    const around = await copyTo('registry.test/cache', [], { ...env, NO_PROXY: '.example.com,test' });
    t.regex(around.stderr, /ENOTFOUND|EAI_AGAIN/);
    t.notRegex(around.stderr, /p@ss|p%40ss/);
    t.is(new Set(seen).size, 1);
  });

  test('plain HTTP goes by way of a proxy, too', async (t) => {
    const plain = await startRegistry(join(folder, 'plain'));
    t.teardown(() => plain.stop());
    const proxy = await startFaultProxy(plain.host);
    t.teardown(() => proxy.stop());
    const { code, stderr } = await copyTo('registry.test/cache,registry.insecure=true', [], {
      HTTP_PROXY: `http://${proxy.host}`,
    });
    t.is(code, 0, stderr);
    t.true(proxy.seen.length > 0);
    for (const { path, headers } of proxy.seen) {
      t.regex(path, /^http:\/\/registry\.test\/v2\//);
      t.is(headers.host, 'registry.test');
    }
  });

  test('a registry with an IPv6 address', async (t) => {
    const server = await startRegistry(join(folder, 'six'), { address: '[::1]' });
    t.teardown(() => server.stop());
    const { code, stderr } = await copyTo(`${server.host}/cache:a`);
    t.is(code, 0, stderr);
  });
});
