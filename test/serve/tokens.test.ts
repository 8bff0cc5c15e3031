import { createHmac } from 'node:crypto';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { CacheError } from '../../src/errors.js';
import type { Grant } from '../../src/serve/access.js';
import { tokensIn } from '../../src/serve/key-file.js';
import { newKey, tokenIn, Tokens } from '../../src/serve/tokens.js';
import { temporary } from '../support/fixtures.js';

const READ: Grant = { action: 'read', repositories: ['*'] };
const DAY = 86_400_000;

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

test('a token grants what it was made for, and no more', (t) => {
  const tokens = new Tokens(newKey(), 'key');
  const access = tokens.check(tokens.sign([{ action: 'write', repositories: ['team/*', 'shared'] }], DAY));
  t.true(access?.mayWrite('team/app'));
  t.true(access?.mayWrite('team/app/sub'));
  t.true(access?.mayRead('shared'));
  for (const other of ['team', 'teams/app', 'shared/x', 'other']) {
    t.false(access?.mayRead(other), other);
    t.false(access?.mayWrite(other), other);
  }
  t.false(access?.readsAll);
  const reading = tokens.check(tokens.sign([READ], DAY));
  t.deepEqual([reading?.mayRead('team/app'), reading?.mayWrite('team/app'), reading?.readsAll], [true, false, true]);
});

test('a token is valid in its time alone', (t) => {
  const tokens = new Tokens(newKey(), 'key');
  const now = Date.now();
  const token = tokens.sign([READ], DAY, { now });
  t.truthy(tokens.check(token, now));
  t.truthy(tokens.check(token, now + DAY - 2000));
  t.is(tokens.check(token, now + DAY + 2000), undefined);
  t.is(tokens.check(token, now - 120_000), undefined);
});

test('claims that nobody signed grant nothing', (t) => {
  const tokens = new Tokens(newKey(), 'key');
  const claims = { iss: 'bkcache', jti: 'x', nbf: 0, exp: 4_000_000_000, grants: [READ] };
  const header = encode({ alg: 'HS256', typ: 'JWT' });
  const none = encode({ alg: 'none', typ: 'JWT' });
  const body = encode(claims);
  const emptyKey = createHmac('sha256', '').update(`${header}.${body}`).digest('base64url');
  const other = new Tokens(newKey(), 'key').sign([READ], DAY);
  const real = tokens.sign([READ], DAY).split('.');
  for (const token of [
    '',
    '.',
    '..',
    `${none}.${body}.`,
    `${none}.${body}.${real[2]}`,
    `${header}.${body}.`,
    `${header}.${body}.${emptyKey}`,
    `${header}.${body}.${real[2]}`,
    `${real[0]}.${body}.${real[2]}`,
    `${real.join('.')}.x`,
    other,
    'x'.repeat(100_000),
  ]) {
    t.is(tokens.check(token), undefined, token.slice(0, 80));
  }
});

test('a token with any character changed is none', (t) => {
  const tokens = new Tokens(newKey(), 'key');
  const token = tokens.sign([READ], DAY);
  const [head = '', body = '', signature = ''] = token.split('.');
  const signed = head.length + body.length + 1;
  fc.assert(
    fc.property(fc.nat(signed - 1), fc.constantFrom('A', 'z', '0', '-', '.'), (at, other) => {
      fc.pre(token[at] !== other);
      t.is(tokens.check(token.slice(0, at) + other + token.slice(at + 1)), undefined);
    }),
  );
  t.is(tokens.check(`${head}.${body}.${signature.slice(0, -4)}`), undefined);
});

test('a token is taken as a bearer, and as the password of any user', (t) => {
  t.is(tokenIn('Bearer abc'), 'abc');
  t.is(tokenIn('bearer abc'), 'abc');
  t.is(tokenIn(`Basic ${Buffer.from('somebody:a:b').toString('base64')}`), 'a:b');
  for (const none of [undefined, '', 'abc', 'Digest abc', 'Bearer a b']) t.is(tokenIn(none), undefined);
});

test('a key file is made for its owner alone, and gives the same tokens again', async (t) => {
  const path = join(temporary(t), 'key');
  const token = (await tokensIn(path)).sign([READ], DAY);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.truthy((await tokensIn(path)).check(token));
  t.true(readFileSync(path, 'utf8').trim().length >= 32);
});

test('processes that make a key file at once have the same key', async (t) => {
  const path = join(temporary(t), 'key');
  const all = await Promise.all(Array.from({ length: 8 }, () => tokensIn(path)));
  const tokens = all.map((one) => one.sign([READ], DAY));
  for (const one of all) for (const token of tokens) t.truthy(one.check(token));
});

test('a key file that others may read, or without a key, is refused', async (t) => {
  const path = join(temporary(t), 'key');
  writeFileSync(path, newKey(), { mode: 0o600 });
  chmodSync(path, 0o640);
  const shared = await t.throwsAsync(tokensIn(path), { instanceOf: CacheError });
  t.deepEqual([shared.code, shared.hint], ['USAGE', `chmod 600 ${path}`]);
  writeFileSync(path, 'short\n');
  chmodSync(path, 0o600);
  t.is((await t.throwsAsync(tokensIn(path), { instanceOf: CacheError })).code, 'USAGE');
});
