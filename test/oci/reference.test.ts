import test from 'ava';
import { CacheError } from '../../src/errors.js';
import { isLoopback, parseReference } from '../../src/oci/reference.js';

const HEX = 'a'.repeat(64);
const DIGEST = `sha256:${HEX}`;

test('names are completed as Docker completes them', (t) => {
  const cases: [string, string, string, string | undefined, string?][] = [
    ['ubuntu', 'docker.io', 'library/ubuntu', 'latest'],
    ['ubuntu:24.04', 'docker.io', 'library/ubuntu', '24.04'],
    ['team/cache', 'docker.io', 'team/cache', 'latest'],
    ['docker.io/ubuntu', 'docker.io', 'library/ubuntu', 'latest'],
    ['index.docker.io/ubuntu', 'docker.io', 'library/ubuntu', 'latest'],
    ['index.docker.io/team/cache:a', 'docker.io', 'team/cache', 'a'],
    ['library/ubuntu', 'docker.io', 'library/ubuntu', 'latest'],
    ['localhost/cache', 'localhost', 'cache', 'latest'],
    ['localhost:5000/cache:a', 'localhost:5000', 'cache', 'a'],
    ['127.0.0.1:5000/a/b/c', '127.0.0.1:5000', 'a/b/c', 'latest'],
    ['[::1]:5000/cache', '[::1]:5000', 'cache', 'latest'],
    ['[2001:db8::1]/cache:a', '[2001:db8::1]', 'cache', 'a'],
    ['ghcr.io/team/cache:main', 'ghcr.io', 'team/cache', 'main'],
    ['REGISTRY/cache', 'REGISTRY', 'cache', 'latest'],
    ['a__b/c-d--e.f_g:A_b.C-d', 'docker.io', 'a__b/c-d--e.f_g', 'A_b.C-d'],
    [`ghcr.io/cache@${DIGEST}`, 'ghcr.io', 'cache', undefined, DIGEST],
    [`ghcr.io/cache:a@${DIGEST}`, 'ghcr.io', 'cache', 'a', DIGEST],
    [
      '123456789012.dkr.ecr.eu-central-1.amazonaws.com/cache',
      '123456789012.dkr.ecr.eu-central-1.amazonaws.com',
      'cache',
      'latest',
    ],
  ];
  for (const [text, registry, repository, tag, digest] of cases) {
    t.deepEqual(parseReference(text) as object, { registry, repository, tag, digest }, text);
  }
});

test('what Docker refuses is refused, with a reason', (t) => {
  const cases: [string, RegExp][] = [
    ['', /not a repository/],
    ['Ubuntu', /upper-case/],
    ['ghcr.io/Team/cache', /upper-case/],
    [HEX, /64 hex digits/],
    ['https://ghcr.io/cache', /an address/],
    ['ghcr.io/cache:', /not a tag/],
    [`ghcr.io/cache:${'a'.repeat(129)}`, /not a tag/],
    ['ghcr.io/cache:a/b', /not a tag/],
    ['ghcr.io/../cache', /not a repository/],
    ['ghcr.io/a//b', /not a repository/],
    ['ghcr.io/', /not a repository/],
    ['ghcr.io/-a', /not a repository/],
    ['ghcr.io/a b', /not a repository/],
    ['user:password@ghcr.io/cache', /is not a digest/],
    ['ghcr.io:port/cache', /not a registry/],
    ['localhost:99999/cache', /"localhost:99999" is not a registry/],
    ['[1:2]:5000/cache', /not a registry/],
    ['ghcr.io/cache@sha256:abc', /is not a digest/],
    [`ghcr.io/${'a'.repeat(256)}`, /255/],
  ];
  for (const [text, message] of cases) {
    const error = t.throws(() => parseReference(text), { instanceOf: CacheError }, text);
    t.is(error.code, 'USAGE');
    t.regex(error.message, message, text);
  }
});

test('a registry on this machine is known by its name', (t) => {
  for (const name of ['localhost', 'localhost:5000', '127.0.0.1:5000', '127.1.2.3', '[::1]:5000', '[::1]']) {
    t.true(isLoopback(name), name);
  }
  for (const name of ['localhost.example.com', '127.example.com', '10.0.0.1:5000', '[::2]:5000', 'docker.io']) {
    t.false(isLoopback(name), name);
  }
});
