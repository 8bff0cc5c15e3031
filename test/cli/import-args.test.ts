import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { bkcache } from '../support/command.js';
import { FAULTS, FaultyFolder } from '../support/faults.js';
import { importOf, temporary } from '../support/fixtures.js';
import { copyFixture } from '../support/folders.js';

test('import-args prints flags for what is there, and nothing but a note for what is not', async (t) => {
  const here = importOf('max-gzip');
  const { code, stdout, stderr } = await bkcache(['import-args', '--for', 'buildx', here, 'type=local,src=./no-such']);
  t.is(code, 0);
  t.is(stdout, `--cache-from\n${here}\n`);
  t.regex(stderr, /no-such/);
});

test('import-args leaves out what leads nowhere, and what only a build can read', async (t) => {
  const folder = temporary(t);
  const here = importOf('max-gzip');
  writeFileSync(join(folder, 'file'), '');
  symlinkSync('loop', join(folder, 'loop'));
  const odd = [join(folder, 'file', 'x'), join(folder, 'loop'), join(folder, 'x'.repeat(300)), 'type=s3'];
  const env = { AWS_BUCKET: 'b', AWS_REGION: 'r' };
  const { code, stdout, stderr } = await bkcache(['import-args', ...odd, here], env);
  t.is(code, 0);
  t.is(stdout, `--import-cache\n${here}\n`);
  t.is(stderr.match(/^bkcache: left out /gm)?.length, odd.length);
  for (const text of odd.slice(0, 3)) t.is((await bkcache(['resolve', text])).code, 3, text);
  // A string that no build would take is no import that is missing.
  t.is((await bkcache(['import-args', 'example.com/A', here])).code, 2);
  t.is((await bkcache(['import-args', './cache,tag=main', here])).code, 2);
});

test('import-args says what to do about a cache that is damaged, and nothing before the first export', async (t) => {
  const path = join(temporary(t), 'image');
  copyFixture('inline-image', path);
  FAULTS.find(({ of, name }) => of === 'image' && name === 'no history')?.make(new FaultyFolder(path));
  const { code, stderr } = await bkcache([
    'import-args',
    `type=inline,src=${path},tag=inline`,
    'type=local,src=./no-such',
  ]);
  t.is(code, 0);
  t.regex(stderr, /daemon exits .*\n {2}hint: "bkcache repair" fills in the history/);
  t.regex(stderr, /no-such/);
  t.is(stderr.match(/hint/g)?.length, 1);
});
