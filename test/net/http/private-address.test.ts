import test from 'ava';
import { isPrivate, isPublicHost, publicOnly } from '../../../src/net/http/private-address.js';

test('addresses of this machine and of private networks are known, however they are written', async (t) => {
  for (const address of [
    '127.0.0.1',
    '0.0.0.0',
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.100.100.200',
    '::1',
    '::',
    '[::1]',
    'fe80::1',
    'fe80::1%eth0',
    'fd00::1',
    '::ffff:127.0.0.1',
    '::ffff:a00:1',
  ]) {
    t.true(isPrivate(address), address);
  }
  for (const address of ['1.1.1.1', '172.32.0.1', '192.169.0.1', '100.128.0.1', '2606:4700::1', 'localhost', 'a.test'])
    t.false(isPrivate(address), address);
  t.false(await isPublicHost('localhost'));
  t.false(await isPublicHost('[::1]'));
  t.true(await isPublicHost('192.0.2.1'));
});

test('a name that leads to a private network is not looked up for who is outside', async (t) => {
  for (const all of [true, false]) {
    const error = await new Promise((resolve) => publicOnly('localhost', { all }, (found) => resolve(found)));
    t.like(error, { code: 'DENIED' });
  }
});
