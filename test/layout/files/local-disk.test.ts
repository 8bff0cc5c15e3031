import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'ava';
import { isLocal, statOf } from '../../../src/layout/files/local-disk.js';
import { temporary } from '../../support/fixtures.js';

test('what is not a disk of this machine is not taken for one, nor is a folder that is not there', async (t) => {
  if (process.platform === 'linux') t.false(await isLocal('/proc'));
  const folder = join(temporary(t), 'later');
  t.false(await isLocal(folder));
  mkdirSync(folder);
  t.is(await isLocal(folder), await isLocal(dirname(folder)), 'it is looked at again once it is there');
});

test('nothing at a path is no error on either kind of disk, and links are not followed', async (t) => {
  const folder = temporary(t);
  writeFileSync(join(folder, 'file'), 'text');
  symlinkSync('file', join(folder, 'link'));
  t.is((await statOf(join(folder, 'file')))?.size, 4);
  t.true((await statOf(join(folder, 'link')))?.isSymbolicLink());
  for (const path of [join(folder, 'none'), join(folder, 'file', 'below'), '/proc/none', '/proc/version/below']) {
    t.is(await statOf(path), undefined, path);
  }
});
