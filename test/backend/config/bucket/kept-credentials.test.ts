import test from 'ava';
import { keptCredentials } from '../../../../src/backend/config/bucket/s3-credentials.js';

const MINUTE = 60_000;

test('credentials are asked for once, and again before they run out', async (t) => {
  let asked = 0;
  const lasting = (minutes: number | undefined) =>
    keptCredentials(() => {
      asked++;
      const expiration = minutes === undefined ? undefined : new Date(Date.now() + minutes * MINUTE);
      return Promise.resolve({ id: asked, expiration });
    });
  for (const minutes of [undefined, 60, 3]) {
    asked = 0;
    const find = lasting(minutes);
    await Promise.all([find(), find()]);
    t.is((await find()).id, 1, `${minutes}`);
  }
  const over = lasting(-1);
  const first = await over();
  t.not((await over()).id, first.id);
});

test('a source that fails to renew credentials is no failure before they run out', async (t) => {
  let time = 0;
  let asked = 0;
  const sources = [{ id: 1, expiration: new Date(10 * MINUTE) }];
  const find = keptCredentials(
    async () => {
      await Promise.resolve(asked++);
      const next = sources.shift();
      if (next === undefined) throw new Error('the instance does not answer');
      return next;
    },
    () => time,
  );
  for (const [minutes, times] of [
    [0, 1],
    [4, 1],
    [6, 2],
    [6, 2],
    [8, 3],
  ] as const) {
    time = minutes * MINUTE;
    t.is((await find()).id, 1);
    t.is(asked, times, `${minutes}`);
  }
  time = 10 * MINUTE;
  await t.throwsAsync(find(), { message: 'the instance does not answer' });
  sources.push({ id: 2, expiration: new Date(60 * MINUTE) });
  t.is((await find()).id, 2, 'a failure is not kept');
});
