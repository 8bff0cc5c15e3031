import { createHash } from 'node:crypto';
import test from 'ava';
import fc from 'fast-check';
import { collect } from '../../src/bytes/collect.js';
import { decodeFileLists, encodeFileLists } from '../../src/delta/file-list-encoding.js';
import { type FileList, listFiles } from '../../src/delta/file-list.js';
import { CacheError } from '../../src/errors.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { inChunks } from '../support/deltas.js';
import { noise, tarOf } from '../support/tars.js';

const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

async function decoded(bytes: Uint8Array): Promise<FileList[]> {
  const lists: FileList[] = [];
  for await (const list of decodeFileLists(inChunks(bytes, 1000), 'have.list')) lists.push(list);
  return lists;
}

test('a list has each regular file of a tar, where it lies, and what its content is', async (t) => {
  const contents = [noise(1, 700), Buffer.alloc(0), noise(2, 1024), noise(3, 5)];
  const names = ['app/a', 'app/empty', 'n'.repeat(150), 'app/last'];
  const tar = await tarOf([
    { name: 'app', type: 'directory' },
    { name: 'app/link', type: 'symlink', linkname: 'a' },
    ...contents.map((bytes, index) => ({ name: names[index] ?? '', bytes })),
    { name: 'app/hard', type: 'link', linkname: 'app/a' },
  ]);
  for (const size of [1, 100, tar.length]) {
    const list = await listFiles(inChunks(tar, size), sha256(tar));
    t.is(list.diffID, sha256(tar));
    t.is(list.size, tar.length);
    t.deepEqual(
      [...list.sizes],
      contents.map(({ length }) => length),
    );
    t.deepEqual(list.digests, Buffer.concat(contents.map(hash)));
    for (const [index, offset] of list.offsets.entries()) {
      t.deepEqual(tar.subarray(offset, offset + (list.sizes[index] ?? 0)), contents[index]);
    }
    // The headers before the first file are those of a folder, a link and the file itself.
    t.is(list.offsets[0], 3 * 512);
    t.deepEqual(list.headerChecks.subarray(0, 4), hash(tar.subarray(0, 3 * 512)).subarray(0, 4));
    t.is(list.headerChecks.length, 4 * contents.length);
  }
});

test('of a tar that is cut short the whole files are listed, and bytes that are no tar have none', async (t) => {
  const tar = await tarOf([
    { name: 'a', bytes: noise(1, 700) },
    { name: 'b', bytes: noise(2, 700) },
  ]);
  const listed = async (bytes: Buffer) => {
    const list = await listFiles(inChunks(bytes, 300), sha256(bytes));
    t.is(list.size, bytes.length);
    return list.sizes.length;
  };
  t.is(await listed(tar.subarray(0, 2048 + 699)), 1);
  t.is(await listed(tar.subarray(0, 2048 + 700)), 2);
  t.is(await listed(tar.subarray(0, 1000)), 0);
  t.is(await listed(Buffer.alloc(0)), 0);
  t.is(await listed(noise(1, 5000)), 0);
  const failing = (async function* () {
    yield tar.subarray(0, 600);
    throw new CacheError('CORRUPT', 'the blob is damaged');
  })();
  await t.throwsAsync(listFiles(failing, sha256(tar)), { message: 'the blob is damaged' });
});

const someDigest = fc.uint8Array({ minLength: 32, maxLength: 32 });
const someList: fc.Arbitrary<FileList> = fc
  .record({
    diffID: someDigest,
    files: fc.array(fc.tuple(fc.nat(5), fc.nat(2 ** 31), someDigest, fc.uint8Array({ minLength: 4, maxLength: 4 }))),
    behind: fc.nat(9999),
  })
  .map(({ diffID, files, behind }) => {
    let end = 0;
    const offsets = files.map(([blocks, size]) => {
      const offset = end + 512 * blocks;
      end = offset + Math.ceil(size / 512) * 512;
      return offset;
    });
    return {
      diffID: `sha256:${Buffer.from(diffID).toString('hex')}` as Digest,
      size: end + behind,
      offsets: Float64Array.from(offsets),
      sizes: Float64Array.from(files, ([, size]) => size),
      digests: Buffer.concat(files.map(([, , digest]) => digest)),
      headerChecks: Buffer.concat(files.map(([, , , check]) => check)),
    };
  });

test('lists come back from their encoding, which is the same for the same lists', async (t) => {
  const inOrder = fc
    .uniqueArray(someList, { selector: ({ diffID }) => diffID, maxLength: 5 })
    .map((lists) => lists.toSorted((a, b) => (a.diffID < b.diffID ? -1 : 1)));
  await fc.assert(
    fc.asyncProperty(inOrder, async (lists) => {
      const bytes = await collect(encodeFileLists(lists));
      t.deepEqual(await decoded(bytes), lists);
      t.deepEqual(await collect(encodeFileLists(lists)), bytes);
    }),
  );
});

test('a file takes some 39 bytes', async (t) => {
  const entries = Array.from({ length: 2000 }, (_, index) => ({
    name: `app/${index}`,
    bytes: noise(index, (index * index) % 7919),
  }));
  const tar = await tarOf(entries);
  const bytes = await collect(encodeFileLists([await listFiles(inChunks(tar, 100_000), sha256(tar))]));
  t.true(bytes.length < 2000 * 39, `${bytes.length / 2000}`);
});

test('lists that are not in order are a mistake', async (t) => {
  const [list] = fc.sample(someList, 1);
  if (list === undefined) throw new Error('no list');
  await t.throwsAsync(collect(encodeFileLists([list, list])), { message: /is not in order/ });
});

test('a damaged list is refused', async (t) => {
  const tar = await tarOf([
    { name: 'a', bytes: noise(1, 700) },
    { name: 'b', bytes: noise(2, 700) },
  ]);
  const list = await listFiles(inChunks(tar), sha256(tar));
  const bytes = await collect(encodeFileLists([list]));
  for (let at = 0; at < bytes.length; at++) {
    const flipped = Buffer.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    // zstd has a bit in the header of a frame that nothing reads.
    const result = await decoded(flipped).catch((error: unknown) => error);
    if (result instanceof CacheError) t.is(result.code, 'CORRUPT');
    else t.deepEqual(result, [list], `byte ${at}`);
    if (at > 0) await t.throwsAsync(decoded(bytes.subarray(0, at)), { instanceOf: CacheError });
  }
  await t.throwsAsync(decoded(Buffer.concat([bytes, Buffer.from('more')])), {
    message: /^have\.list: the list of files/,
  });
  await t.throwsAsync(decoded(Buffer.from('anything else')), { message: /it is no list of files/ });
});

test('fields that do not belong together are refused', async (t) => {
  const { encodeZstd } = await import('../../src/codec/zstd.js');
  const field = (bytes: Buffer, length = bytes.length) => {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(length);
    return Buffer.concat([head, bytes]);
  };
  const id = field(Buffer.alloc(32, 1));
  const none = field(Buffer.alloc(0));
  const one = [field(Buffer.from([1])), field(Buffer.alloc(4)), field(Buffer.alloc(32))];
  const cases: readonly (readonly [fields: readonly Buffer[], message: RegExp])[] = [
    [[], /cut short/],
    [[id], /cut short/],
    [[none, none], /bytes follow/],
    [[field(Buffer.alloc(8), 0xffff_fff0)], /cut short/],
    [[field(Buffer.alloc(31)), field(Buffer.from([9])), none, none, none], /wrong sizes/],
    [[id, none, none, none, none], /wrong sizes/],
    [[id, field(Buffer.from([9])), ...one], /wrong sizes/],
    [[id, field(Buffer.from([9, 0x80])), ...one], /wrong sizes/],
    [[id, field(Buffer.from([9, 9])), ...one], /behind the end of layer sha256:0101/],
    [[id, field(Buffer.from([9, ...Array.from({ length: 9 }, () => 0xff), 1])), ...one], /wrong sizes/],
    [[id, field(Buffer.from([9, 0])), one[0] ?? none, none, one[2] ?? none], /wrong sizes/],
    [[id, field(Buffer.from([9])), none, none, none, id, field(Buffer.from([9])), none, none, none], /not in order/],
  ];
  for (const [fields, message] of cases) {
    const frame = await collect(encodeZstd(inChunks(Buffer.concat(fields)), 1));
    const error = await t.throwsAsync(decoded(Buffer.concat([Buffer.from('bkfiles1'), frame])), {
      instanceOf: CacheError,
    });
    t.regex(error.message, message);
  }
});
