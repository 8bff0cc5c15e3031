import test from 'ava';
import { Outage } from '../../src/backend/outage.js';
import { CacheError } from '../../src/errors.js';

const denied = new CacheError('DENIED', 'no');
const silent = new CacheError('UNREACHABLE', 'nothing');

test('what a registry refuses is the problem of that thing, however often', (t) => {
  const outage = new Outage();
  for (let count = 0; count < 1000; count++) t.is(outage.failed(denied), denied);
  outage.answered();
  t.notThrows(() => outage.end());
});

test('a registry that fails eight times in a row is not asked any further', (t) => {
  const outage = new Outage();
  for (let round = 0; round < 3; round++) {
    for (let count = 0; count < 7; count++) t.is(outage.failed(silent), silent);
    outage.answered();
  }
  for (let count = 0; count < 7; count++) outage.failed(silent);
  t.is(
    t.throws(() => outage.failed(silent)),
    silent,
  );
});

test('a registry that refuses everything refuses as a whole, and what is no refusal is thrown at once', (t) => {
  const outage = new Outage();
  outage.failed(denied);
  outage.failed(silent);
  t.is(
    t.throws(() => outage.end()),
    denied,
  );
  const corrupt = new CacheError('CORRUPT', 'damaged');
  t.is(
    t.throws(() => outage.failed(corrupt)),
    corrupt,
  );
  t.notThrows(() => new Outage().end());
});
