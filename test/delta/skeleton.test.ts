import test from 'ava';
import { collect } from '../../src/bytes/collect.js';
import { listFiles } from '../../src/delta/file-list.js';
import { bytesReader } from '../../src/delta/random-reader.js';
import { Aligner } from '../../src/delta/write/aligned.js';
import { Skeleton } from '../../src/delta/write/skeleton.js';
import { SourceSpace } from '../../src/delta/write/source-space.js';
import { streamOf } from '../../src/delta/write/stream.js';
import { sha256 } from '../../src/oci/digest.js';
import { inChunks } from '../support/deltas.js';
import { noise } from '../support/tars.js';

const MIB = 1024 * 1024;

async function spaceOf(bytes: Buffer): Promise<SourceSpace> {
  const files = await listFiles(inChunks(bytes, 100_000), sha256(bytes));
  return new SourceSpace([{ name: 'sha256/aa', reader: bytesReader(bytes), files }]);
}

/** The sizes of the operations of one kind. */
function sizesOf(operations: Skeleton, kind: number): number[] {
  const bytes = Buffer.concat(operations.chunks);
  const sizes: number[] = [];
  for (let at = 0; at < bytes.length;) {
    const operation = bytes[at++];
    let size = 0;
    for (let factor = 1, byte = 128; byte >= 128; factor *= 128) {
      byte = bytes[at++] ?? 0;
      size += (byte & 127) * factor;
    }
    if (operation === 1) at += size;
    if (operation === kind) sizes.push(size);
  }
  return sizes;
}

test('no ADD_DATA is longer than 64 MiB, and what goes on is one operation', async (t) => {
  const operations = new Skeleton(await spaceOf(Buffer.alloc(16)));
  for (let part = 0; part < 150; part++) operations.addData(0, part * MIB, MIB);
  for (let part = 150; part < 400; part++) operations.copy(0, part * MIB, MIB);
  for (let part = 0; part < 10; part++) operations.data(MIB);
  operations.finish();
  t.deepEqual(sizesOf(operations, 3), [64 * MIB, 64 * MIB, 22 * MIB]);
  t.deepEqual(sizesOf(operations, 2), [250 * MIB]);
  t.deepEqual(sizesOf(operations, 0), [10 * MIB]);
  t.deepEqual(sizesOf(operations, 4), []);
  t.is(operations.given[0], 400 * MIB);
});

test('the size of a stream is known before it is made', async (t) => {
  const old = noise(1, 400_000);
  const tar = noise(1, 400_000);
  for (let at = 0; at < tar.length; at += 1000) tar[at] = 1 + (tar[at] ?? 0);
  const space = await spaceOf(old);
  const operations = new Skeleton(space);
  const aligner = new Aligner(space, operations);
  aligner.write(tar, 0, { source: 0, position: 0 }, 300_000);
  operations.data(50_000);
  aligner.write(tar, 350_000, { source: 0, position: 350_000 }, 50_000);
  operations.finish();
  t.true(Buffer.concat(operations.chunks).length > 350 * 5);
  t.is((await collect(streamOf(operations, space, bytesReader(tar)))).length, operations.streamSize);
});

test('a list of operations that has become long gets no more short ones', async (t) => {
  const old = noise(1, 400_000);
  const tar = noise(1, 400_000);
  for (let at = 0; at < tar.length; at += 1000) tar[at] = 1 + (tar[at] ?? 0);
  const space = await spaceOf(old);
  const operations = new Skeleton(space, 500);
  const aligner = new Aligner(space, operations);
  for (let at = 0; at < tar.length; at += 100_000) {
    aligner.write(tar, at, { source: 0, position: at }, 100_000);
  }
  operations.finish();
  const size = Buffer.concat(operations.chunks).length;
  t.true(size > 500 && size < 1000, `${size} bytes`);
});
