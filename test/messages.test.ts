import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { abortable, CacheError, exitCode, isOutOfReach } from '../src/errors.js';
import { TransientError } from '../src/net/http/retry.js';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));
/** Libraries whose errors say what happened in their text alone; each text is read in one function. */
const NO_CODES = new Map([['net/http/network-error.ts', 'an EPROTO of Node has the reason of OpenSSL in its text']]);
const READS_A_MESSAGE = [
  /\bmessage\??\.(?:includes|startsWith|endsWith|match|matchAll|search|indexOf|replace|replaceAll|split|slice)\(/,
  /\.(?:test|exec)\([^()]*\bmessage\b/,
];

test('nothing is decided by reading the message of an error', (t) => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const found = files.filter((file) => {
    const text = readFileSync(join(SRC, file), 'utf8');
    return READS_A_MESSAGE.some((pattern) => pattern.test(text));
  });
  t.deepEqual(found.toSorted(), [...NO_CODES.keys()]);
});

test('an error keeps all that it says in other words and of another side', (t) => {
  const details = {
    hint: 'wait',
    wrong: 'size',
    expected: '2 bytes',
    found: '1 byte',
    cause: new Error('why'),
  } as const;
  const errors = [
    new CacheError('CORRUPT', 'first', details),
    new TransientError('first', { ...details, retryAfter: 1, stalled: 2, attempts: 3 }),
  ];
  for (const error of errors) {
    const again = error.on('import').saying('second');
    t.is(again.constructor, error.constructor);
    t.deepEqual(new Map(Object.entries(again)), new Map(Object.entries(error)).set('side', 'import'));
    t.is(again.message, 'second');
    t.is(again.cause, details.cause);
    t.is(again.on('export').side, 'import');
  }
  const [corrupt] = errors;
  const { cause: _, ...rest } = details;
  t.deepEqual(JSON.parse(JSON.stringify(corrupt)), { code: 'CORRUPT', message: 'first', ...rest });
});

test('who refuses, and who cannot be asked, says nothing of a cache, and ends the command with 1', (t) => {
  for (const code of ['UNREACHABLE', 'DENIED'] as const) {
    t.is(exitCode(new CacheError(code, 'no')), 1);
    t.true(isOutOfReach(new CacheError(code, 'no')));
  }
  t.true(isOutOfReach(new TransientError('no')));
  for (const code of ['FAILED', 'NOT_FOUND', 'CORRUPT'] as const) t.false(isOutOfReach(new CacheError(code, 'no')));
  t.false(isOutOfReach(new Error('no')));
});

test('whatever ends an aborted call, it ends with ABORTED and the reason', async (t) => {
  for (const reason of [new Error('enough'), 'enough', undefined]) {
    const controller = new AbortController();
    const call = abortable(controller.signal, async () => {
      controller.abort(reason);
      return Promise.reject(new Error('something failed because of that'));
    });
    const error = await t.throwsAsync(call, { instanceOf: CacheError });
    t.is(error.code, 'ABORTED');
    t.is(error.cause, controller.signal.reason);
  }
  const late = abortable(AbortSignal.abort(), () => Promise.resolve('never asked'));
  t.like(await t.throwsAsync(late, { instanceOf: CacheError }), { code: 'ABORTED', cause: { name: 'AbortError' } });
  t.is(await abortable(undefined, () => Promise.resolve('done')), 'done');
});
