import test from 'ava';
import { bkcache } from '../support/command.js';
import { fixture } from '../support/fixtures.js';

test('files prints lines as tar does, or a line of JSON for each file', async (t) => {
  const { code, stdout } = await bkcache(['files', fixture('max-gzip'), 'static']);
  t.is(code, 0);
  t.regex(stdout, /^layer [0-9a-f]{12}, 182 B$/m);
  t.regex(stdout, /^-rw-r--r-- 0\/0 {14}30000 \d{4}-\d\d-\d\d \d\d:\d\d static\/logo\.txt$/m);
  t.regex(stdout, /^drwxr-xr-x .* static\/$/m);
  const json = await bkcache(['files', fixture('max-gzip'), '--find', 'logo.txt', '--json']);
  const lines = json.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { path: string; size: number });
  t.deepEqual(
    lines.map(({ path, size }) => [path, size]),
    [
      ['static/logo.txt', 30_000],
      ['deps/logo.txt', 30_000],
    ],
  );
});

test('cat writes bytes to stdout, and says what it cannot find', async (t) => {
  const { code, stdout } = await bkcache(['cat', fixture('max-gzip'), 'static/logo.txt']);
  t.is(code, 0);
  t.is(stdout.length, 30_000);
  const missing = await bkcache(['cat', fixture('max-gzip'), 'etc/passwd']);
  t.is(missing.code, 3);
  t.regex(missing.stderr, /has no blob and no file etc\/passwd/);
});
