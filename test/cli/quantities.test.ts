import test from 'ava';
import { parseAge, parseDuration, parseSample, parseSize } from '../../src/cli/quantities.js';
import { CacheError } from '../../src/errors.js';

test('lengths of time, sizes and parts are read as people write them', (t) => {
  t.is(parseDuration('1h30m', 'x'), 5_400_000);
  t.is(parseDuration('30d', 'x'), 30 * 86_400_000);
  t.is(parseDuration('0', 'x'), 0);
  t.is(parseSize('10GB', 'x'), 10_000_000_000);
  t.is(parseSize('1.5KiB', 'x'), 1536);
  t.is(parseSize('12B', 'x'), 12);
  t.is(parseSize('0', 'x'), 0);
  t.is(parseSize('0.1B', 'x'), 1);
  t.is(parseDuration('3min', 'x'), parseDuration('3m', 'x'));
  t.is(parseAge('1h30m', 'x'), 5_400_000);
  t.is(parseAge('3min', 'x'), 180_000);
  t.deepEqual(parseSample('1/7', 'x'), { part: 1, of: 7 });
  t.deepEqual(parseSample('10%', 'x'), { share: 0.1 });
  t.deepEqual(parseSample('2GB', 'x'), { bytes: 2_000_000_000 });
  for (const text of ['', '-1', '1y', 'h', '30', '1.5', '1e3', `${'9'.repeat(400)}d`])
    t.throws(() => parseDuration(text, 'x'), { instanceOf: CacheError });
  for (const text of ['', '-1', 'GB', '1ib', '10', '1e9', '0x10', `${'9'.repeat(400)}GB`])
    t.throws(() => parseSize(text, 'x'), { instanceOf: CacheError });
  for (const text of ['0/7', '8/7', '0%', '101%', 'all'])
    t.throws(() => parseSample(text, 'x'), { instanceOf: CacheError });
  const error = t.throws(() => parseAge('3m', '--max-age'), { instanceOf: CacheError, message: /minutes or months/ });
  t.is(error.hint, 'write 3min for minutes, or 90d for months');
});
