import { join } from 'node:path';
import test from 'ava';
import { bkcache, copyFolder } from '../support/command.js';
import { temporary } from '../support/fixtures.js';
import { copyFixture } from '../support/folders.js';

test('a path with options behind it is a folder only where there is one', async (t) => {
  const folder = join(temporary(t), 'cache,tag=main');
  t.is((await bkcache(['resolve', folder])).code, 2);
  copyFixture('max-gzip', folder);
  t.is((await bkcache(['resolve', folder])).code, 0);
});

test('a folder that is taken for a reference is pointed out', async (t) => {
  const out = temporary(t);
  // A name that is no reference either, so that nothing is looked up.
  const { code, stderr } = await bkcache(['copy', '--import-cache', 'dist/src/CLI', '--export-cache', out]);
  t.is(code, 2);
  t.notRegex(stderr, /taken for a reference/);
  const { stderr: hinted } = await bkcache(['copy', '--import-cache', 'CHANGELOG.md', '--export-cache', out]);
  t.regex(hinted, /the folder is \.\/CHANGELOG\.md/);
  const { stderr: positional } = await bkcache(['resolve', 'CHANGELOG.md']);
  t.regex(positional, /the folder is \.\/CHANGELOG\.md/);
  const value = await bkcache(['resolve', 'localhost:1/a', '--registry-ca', 'package.json']);
  t.is(value.code, 1);
  t.notRegex(value.stderr, /taken for/);
});

test('a reference that is taken for a folder is pointed out', async (t) => {
  for (const [verb, hint] of [
    ['list', /in a registry it is type=registry,ref=localhost:1\/a/],
    ['verify', /in a registry it is type=registry,ref=localhost:1\/a/],
    ['repair', /repair does not work on registries/],
    ['gc', /gc does not work on registries/],
    ['prune', /prune does not work on registries/],
  ] as const) {
    const { code, stderr } = await bkcache([verb, 'localhost:1/a', ...(verb === 'prune' ? ['--max-age', '1d'] : [])]);
    t.is(code, 3, stderr);
    t.regex(stderr, hint);
  }
  t.notRegex((await bkcache(['list', './not-there.d/cache'])).stderr, /taken for/);
});

test('a registry is refused by what its own rules do, and a secret is not shown', async (t) => {
  for (const verb of [['gc'], ['prune', '--max-age', '1d'], ['repair'], ['touch']]) {
    const { code, stderr } = await bkcache([...verb, 'type=registry,ref=localhost:1/a']);
    t.is(code, 2, stderr);
    t.regex(
      stderr,
      /cannot work on localhost:1\/a\n +hint: (?:a registry frees|copy the caches into a folder|rules of a registry)/,
    );
    const secret = await bkcache([...verb, 'type=s3,bucket=b,secret_access_key=hush']);
    t.is(secret.code, 2);
    t.notRegex(secret.stderr, /hush/);
  }
});

test('a path with type= in it is a path for every verb', async (t) => {
  const folder = join(temporary(t), 'of,type=max');
  copyFixture('grown', folder);
  const verified = await bkcache(['verify', folder]);
  t.is(verified.code, 0, verified.stderr);
  t.regex(verified.stdout, /sound; 2 entries/);
  for (const verb of ['list', 'gc', 'repair']) t.is((await bkcache([verb, folder])).code, 0);
});

test('a folder that is not there is exit 3', async (t) => {
  t.is((await copyFolder('./no-such-folder', temporary(t))).code, 3);
  t.is((await bkcache(['list', './no-such-folder'])).code, 3);
});
