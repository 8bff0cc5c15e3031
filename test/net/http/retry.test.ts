import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { Backoff, withRetries, retryAfterOf, TransientError } from '../../../src/net/http/retry.js';

const POLICY = { attempts: 3, pause: 1, longestPause: 4, longestAsked: 1000, longestStall: 120_000 };
const transient = () => new TransientError('busy', { side: 'export', hint: 'wait' });

test('what is transient is tried as often as the policy says, and then it is an error like any other', async (t) => {
  let attempts = 0;
  const failing = async () => {
    attempts++;
    throw transient();
  };
  const error = await t.throwsAsync(withRetries(failing, { policy: POLICY }), { instanceOf: CacheError });
  t.is(attempts, 3);
  t.is(error.message, 'busy; tried 3 times');
  t.false(error instanceof TransientError);
  t.like(error, { code: 'UNREACHABLE', side: 'export', hint: 'wait' });
  t.is(await withRetries(async () => (++attempts < 6 ? failing() : attempts), { policy: POLICY }), 6);
});

test('what is final is thrown as it is, at once', async (t) => {
  const error = new CacheError('NOT_FOUND', 'no');
  let attempts = 0;
  const failing = async () => {
    attempts++;
    throw error;
  };
  t.is(await t.throwsAsync(withRetries(failing, { policy: POLICY })), error);
  t.is(attempts, 1);
});

test('progress makes the next failure a first one, and coming no further than before is none', async (t) => {
  const backoff = new Backoff(POLICY);
  for (let position = 1; position < 10; position++) {
    await backoff.wait(transient());
    backoff.reached(position);
  }
  await backoff.wait(transient());
  backoff.reached(5);
  await backoff.wait(transient());
  backoff.reached(9);
  await t.throwsAsync(backoff.wait(transient()), { message: /tried 3 times/ });
});

test('silence has a limit of its own, all attempts together, and a failure may bring a smaller number', async (t) => {
  const silent = (stalled: number, attempts?: number) => () =>
    Promise.reject(new TransientError('silent', { stalled, attempts }));
  const policy = { ...POLICY, attempts: 8, longestStall: 100 };
  await t.throwsAsync(withRetries(silent(40), { policy }), { message: 'silent; tried 3 times' });
  await t.throwsAsync(withRetries(silent(0, 2), { policy }), { message: 'silent; tried 2 times' });
  let attempts = 0;
  const afterOthers = () => silent(0, ++attempts > 3 ? 2 : undefined)();
  await t.throwsAsync(withRetries(afterOthers, { policy }), { message: 'silent; tried 5 times' });
  const backoff = new Backoff(policy);
  for (let position = 1; position < 10; position++) {
    await backoff.wait(new TransientError('silent', { stalled: 60 }));
    backoff.reached(position);
  }
});

test('a pause ends with the signal, and its reason is what is thrown', async (t) => {
  const backoff = new Backoff({ ...POLICY, longestAsked: 1e6 });
  const error = new CacheError('ABORTED', 'enough');
  const stop = new AbortController();
  setTimeout(() => stop.abort(error), 10);
  t.is(await t.throwsAsync(backoff.wait(new TransientError('busy', { retryAfter: 60_000 }), stop.signal)), error);
});

test('Retry-After is read in both of its forms', (t) => {
  t.is(retryAfterOf(undefined), undefined);
  t.is(retryAfterOf('3'), 3000);
  t.is(retryAfterOf('Wed, 21 Oct 2015 07:28:00 GMT', Date.parse('Wed, 21 Oct 2015 07:27:50 GMT')), 10_000);
  t.is(retryAfterOf('Wed, 21 Oct 2015 07:28:00 GMT'), 0);
  t.is(retryAfterOf('soon'), undefined);
});
