import { mkdirSync, realpathSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { realPath } from '../../../src/backend/local/real-path.js';
import { temporary } from '../../support/fixtures.js';

test('a path has one spelling, whatever of it exists', async (t) => {
  const folder = realpathSync(temporary(t));
  mkdirSync(join(folder, 'cache'));
  symlinkSync('cache', join(folder, 'link'));
  symlinkSync('loop', join(folder, 'loop'));
  symlinkSync('nowhere', join(folder, 'dangling'));
  const spellings = {
    cache: 'cache',
    'cache/': 'cache',
    'link/../cache/.': 'cache',
    link: 'cache',
    'link/new/folder/': 'cache/new/folder',
    'link/new/../other': 'cache/other',
    'loop/new': 'loop/new',
    dangling: 'dangling',
  };
  for (const [given, real] of Object.entries(spellings)) {
    t.is(await realPath(join(folder, '/') + given), join(folder, real), given);
  }
  t.is(await realPath('new'), join(realpathSync('.'), 'new'));
  t.is(await realPath('.'), realpathSync('.'));
});
