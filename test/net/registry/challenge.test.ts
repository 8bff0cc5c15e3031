import test from 'ava';
import { parseChallenges } from '../../../src/net/registry/challenge.js';

const read = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => ({ scheme, parameters: { ...parameters } }));

test('challenges are read as registries write them', (t) => {
  t.deepEqual(read('Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull,push"'), [
    {
      scheme: 'bearer',
      parameters: { realm: 'https://auth.test/token', service: 'registry.test', scope: 'repository:a/b:pull,push' },
    },
  ]);
  t.deepEqual(read('Basic realm="a \\"quoted\\" name"'), [
    { scheme: 'basic', parameters: { realm: 'a "quoted" name' } },
  ]);
  t.deepEqual(read('BASIC Realm=plain , Bearer realm="x",  Service = y'), [
    { scheme: 'basic', parameters: { realm: 'plain' } },
    { scheme: 'bearer', parameters: { realm: 'x', service: 'y' } },
  ]);
  t.deepEqual(read('Negotiate, Basic realm="a"'), [
    { scheme: 'negotiate', parameters: {} },
    { scheme: 'basic', parameters: { realm: 'a' } },
  ]);
});

test('what cannot be read is no challenge, and ends', (t) => {
  t.deepEqual(read(''), []);
  t.deepEqual(read('"'), []);
  t.deepEqual(read('Bearer realm="open'), [{ scheme: 'bearer', parameters: { realm: '' } }]);
  t.deepEqual(read(`Bearer __proto__="a"`)[0]?.scheme, 'bearer');
});
