import { readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { inodeOfSame, readFileNow, settled, type Stamp } from '../../../src/layout/index/settled.js';
import { temporary } from '../../support/fixtures.js';

/** Longer than the clock of any filesystem stands still that tests run on, in milliseconds. */
const TICK = 30;

function fileOf(t: Parameters<typeof temporary>[0]) {
  const path = join(temporary(t), 'index.json');
  writeFileSync(path, 'one');
  return { path, before: readFileNow(path) };
}

test('a file that was written in place is another one, whatever times it was given', async (t) => {
  const { path, before } = fileOf(t);
  t.is(before && inodeOfSame(path, before), before?.stamp.inode);
  const { atime, mtime } = statSync(path);
  await sleep(TICK);
  writeFileSync(path, 'two');
  utimesSync(path, atime, mtime);
  t.is(before && inodeOfSame(path, before), undefined);
});

test('a file with the same bytes is the same, though somebody has touched it', async (t) => {
  const { path, before } = fileOf(t);
  await sleep(TICK);
  utimesSync(path, 1, 1);
  t.is(before && inodeOfSame(path, before), before?.stamp.inode);
});

test('a file that was just changed is compared by its bytes: its next change may have the same times', async (t) => {
  const { path } = fileOf(t);
  const read = (bytes: Buffer | undefined, stamp: Stamp | undefined) => ({ bytes, stamp });
  const { bytes, stamp } = await settled(path, read, {});
  t.is(stamp, undefined);
  t.is(bytes?.toString(), readFileSync(path, 'utf8'));
  writeFileSync(path, 'two');
  t.is(inodeOfSame(path, { bytes, stamp }), undefined);
});
