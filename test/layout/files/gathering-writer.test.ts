import { readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { GatheringWriter } from '../../../src/layout/files/gathering-writer.js';
import { temporary } from '../../support/fixtures.js';

/** A file that takes only a part of what it is given, as a full pipe or a signal makes some do. */
function reluctant(file: FileHandle, most: number): FileHandle {
  const writev = (pieces: readonly Uint8Array[]) => file.writev([Buffer.concat(pieces).subarray(0, most)]);
  return { writev } as Partial<FileHandle> as FileHandle;
}

test('pieces of any size come out in order, also where the system writes less than it was given', async (t) => {
  const folder = temporary(t);
  let count = 0;
  const pieces = fc.array(fc.uint8Array({ maxLength: 400_000 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(pieces, fc.integer({ min: 50_000, max: 3_000_000 }), async (all, most) => {
      const path = join(folder, `${count++}`);
      const file = await open(path, 'wx');
      const writer = new GatheringWriter(reluctant(file, most));
      for (const piece of all) await writer.write(piece);
      await writer.end();
      await file.close();
      t.true(readFileSync(path).equals(Buffer.concat(all)));
    }),
    { numRuns: 40 },
  );
});

test('a write that fails is told, at the next one or at the end', async (t) => {
  const full = () => Promise.reject(Object.assign(new Error('no room'), { code: 'ENOSPC' }));
  const writer = new GatheringWriter({ writev: full } as Partial<FileHandle> as FileHandle);
  await writer.write(Buffer.alloc(2_000_000));
  await t.throwsAsync(writer.write(Buffer.alloc(2_000_000)), { code: 'ENOSPC' });
  await t.throwsAsync(writer.end(), { code: 'ENOSPC' });
});
