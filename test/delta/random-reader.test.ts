import { open, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mkdtempSync, rmSync } from 'node:fs';
import test from 'ava';
import { PAGE, Pages } from '../../src/delta/paged-reader.js';
import { bytesReader, fileReader, readFully } from '../../src/delta/random-reader.js';
import { noise } from '../support/tars.js';

test('a file is read at any position, by pages and past them', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bkcache-delta-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const bytes = noise(1, 5 * PAGE + 100);
  const path = join(folder, 'tar');
  await writeFile(path, bytes);
  await using handle = await open(path);
  const pages = new Pages(2 * PAGE);
  const readers = [pages.reader(fileReader(handle, bytes.length)), pages.reader(bytesReader(bytes))];
  for (const [position, length] of [
    [0, 10],
    [PAGE - 5, 10],
    [3 * PAGE, PAGE],
    [100, 4 * PAGE],
    [5 * PAGE + 90, 50],
  ] as const) {
    for (const reader of readers) {
      const into = Buffer.alloc(length);
      const read = reader.read(into, position);
      t.deepEqual(into.subarray(0, read), bytes.subarray(position, position + length));
    }
  }
  await truncate(path, PAGE);
  t.throws(() => readFully(fileReader(handle, bytes.length), Buffer.alloc(10), PAGE - 5), { message: /ends at/ });
});
