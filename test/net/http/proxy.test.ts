import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { proxyFor } from '../../../src/net/http/proxy.js';

const PROXY = 'http://proxy.test:3128/';

test('each scheme has its proxy, and names in lower case count as well', (t) => {
  const of = (url: string, env: NodeJS.ProcessEnv) => proxyFor(new URL(url), env)?.href;
  t.is(of('https://a.test', { HTTPS_PROXY: 'proxy.test:3128' }), PROXY);
  t.is(of('https://a.test', { https_proxy: PROXY }), PROXY);
  t.is(of('http://a.test', { HTTP_PROXY: PROXY }), PROXY);
  t.is(of('https://a.test', { HTTP_PROXY: PROXY }), undefined);
  t.is(of('https://a.test', {}), undefined);
});

test('NO_PROXY names hosts, their subdomains, ports, addresses and ranges', (t) => {
  const cases: [string, string, boolean][] = [
    ['a.test', 'https://a.test', true],
    ['a.test', 'https://b.a.test', true],
    ['a.test', 'https://ba.test', false],
    ['.a.test', 'https://a.test', false],
    ['.a.test', 'https://b.a.test', true],
    ['*.a.test', 'https://b.a.test', true],
    ['x, A.test ,y', 'https://a.test', true],
    ['a.test:5000', 'https://a.test:5000', true],
    ['a.test:5000', 'https://a.test', false],
    ['a.test:443', 'https://a.test', true],
    ['10.1.2.3', 'https://10.1.2.3:5000', true],
    ['10.0.0.0/8', 'https://10.1.2.3', true],
    ['10.0.0.0/8', 'https://11.1.2.3', false],
    ['10.0.0.0/8', 'https://a.test', false],
    ['10.0.0.0/99', 'https://10.1.2.3', false],
    ['fd00::/8', 'https://[fd00::1]:5000', true],
    ['[fd00::1]:5000', 'https://[fd00::1]:5000', true],
    ['*', 'https://a.test', true],
    ['', 'https://localhost:5000', true],
    ['', 'https://127.0.0.1:5000', true],
    ['', 'https://[::1]:5000', true],
    ['', 'https://a.test', false],
  ];
  for (const [exceptions, url, isDirect] of cases) {
    const proxy = proxyFor(new URL(url), { HTTPS_PROXY: PROXY, NO_PROXY: exceptions });
    t.is(proxy === undefined, isDirect, `${exceptions}: ${url}`);
  }
});

test('a proxy that is none is refused without being shown, since it may hold a password', (t) => {
  for (const value of ['http://', 'socks5://user:secret@proxy.test', 'http://user:secret@a b']) {
    const error = t.throws(() => proxyFor(new URL('https://a.test'), { HTTPS_PROXY: value }), {
      instanceOf: CacheError,
    });
    t.is(error.code, 'USAGE');
    t.notRegex(error.message, /secret/);
  }
});
