import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { decompress } from 'zstd-napi';
import type { Encoding } from '../../src/codec/compression.js';
import { decode } from '../../src/codec/decode.js';
import { encode } from '../../src/codec/encode.js';
import { CacheError } from '../../src/errors.js';
import { collect } from '../../src/bytes/collect.js';

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Text that compresses about as layers do, the same each time. */
function someBytes(length: number): Buffer {
  const words: string[] = [];
  for (let index = 0, size = 0; size < length; index++) {
    const word = createHash('sha256')
      .update(String(index % 9973))
      .digest('hex')
      .slice(0, 3 + (index % 41));
    words.push(word);
    size += word.length + 1;
  }
  return Buffer.from(words.join(' ')).subarray(0, length);
}

const MIB = 1024 * 1024;
const LARGE = someBytes(9 * MIB + 12345);
const pack = (bytes: Buffer, encoding: Encoding, chunk: number, threads: number) =>
  collect(encode(inChunks(bytes, chunk), encoding, { where: 'test', threads }));

for (const encoding of [
  { compression: 'gzip', level: -2 },
  { compression: 'gzip', level: 0 },
  { compression: 'gzip', level: 1 },
  { compression: 'gzip' },
  { compression: 'gzip', level: 9 },
  { compression: 'zstd', level: -1000 },
  { compression: 'zstd', level: 1 },
  { compression: 'zstd' },
  { compression: 'zstd', level: 15 },
] as const satisfies Encoding[]) {
  const name = `${encoding.compression} ${'level' in encoding ? encoding.level : 'by default'}`;
  test(`${name}: the same bytes however they come and on any number of threads, and readable by others`, async (t) => {
    const first = await pack(LARGE, encoding, 1 * MIB, 1);
    for (const [chunk, threads] of [
      [777_777, 2],
      [9 * MIB, 3],
    ] as const) {
      t.true(first.equals(await pack(LARGE, encoding, chunk, threads)), `${chunk} ${threads}`);
    }
    const unpacked = encoding.compression === 'gzip' ? gunzipSync(first) : decompress(first);
    t.true(unpacked.equals(LARGE));
    t.true((await collect(decode(inChunks(first, 65_537), encoding.compression, 'test'))).equals(LARGE));
  });
}

test("levels are Go's: -2 codes and does not search, -1 is the default, 0 stores; zstd takes the nearest that it has", async (t) => {
  const words = Buffer.from('the same words again and again '.repeat(50_000));
  const size = async (encoding: Encoding) => (await pack(words, encoding, MIB, 2)).length;
  const [huffman, stored, fastest] = [
    await size({ compression: 'gzip', level: -2 }),
    await size({ compression: 'gzip', level: 0 }),
    await size({ compression: 'gzip', level: 1 }),
  ];
  t.true(fastest < huffman && huffman < words.length && words.length < stored);
  for (const compression of ['gzip', 'estargz'] as const) {
    // A tar, to the one.
    const bytes = compression === 'gzip' ? LARGE : Buffer.alloc(10_240);
    const byDefault = await pack(bytes, { compression }, MIB, 2);
    t.true(byDefault.equals(await pack(bytes, { compression, level: -1 }, MIB, 2)), compression);
  }
  const small = LARGE.subarray(0, 100_000);
  for (const [level, same] of [
    [-1_000_000_000, -131_072],
    [-Number.MAX_SAFE_INTEGER, -131_072],
    [0, 3],
    [23, 22],
    [Number(2n ** 63n - 1n), 22],
  ] as const) {
    const packed = await pack(small, { compression: 'zstd', level }, MIB, 2);
    t.true(packed.equals(await pack(small, { compression: 'zstd', level: same }, MIB, 2)), `${level}`);
  }
});

test('gzip in blocks is as small as in one go, within 1 %', async (t) => {
  for (const level of [1, 6, 9]) {
    const blocks = await pack(LARGE, { compression: 'gzip', level }, MIB, 2);
    t.true(blocks.length < gzipSync(LARGE, { level }).length * 1.01);
  }
});

test('any bytes, around the sizes of blocks too, come back from any compression', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes)),
        fc.integer({ min: -2, max: 2 }).map((off) => LARGE.subarray(0, MIB + off)),
        fc.integer({ min: -2, max: 2 }).map((off) => LARGE.subarray(0, 2 * MIB + off)),
      ),
      fc.constantFrom<Encoding['compression']>('gzip', 'zstd'),
      fc.integer({ min: 1, max: 3 * MIB }),
      async (bytes, compression, chunk) => {
        const packed = await pack(bytes, { compression, level: 1 }, chunk, 2);
        t.true((await collect(decode(inChunks(packed, chunk), compression, 'test'))).equals(bytes));
      },
    ),
    { numRuns: 20 },
  );
});

test('a stream that has anything behind its end is damaged; of gzip, zeros to the end are not', async (t) => {
  for (const compression of ['gzip', 'zstd'] as const) {
    const packed = await pack(LARGE.subarray(0, MIB), { compression, level: 1 }, MIB, 2);
    const zeros = [Buffer.alloc(1), Buffer.alloc(4 * MIB)];
    for (const behind of [
      ...(compression === 'zstd' ? zeros : []),
      Buffer.concat([Buffer.alloc(10), packed]),
      packed.subarray(5),
    ]) {
      for (const chunk of [65_536, 16 * MIB]) {
        const bytes = inChunks(Buffer.concat([packed, behind]), chunk);
        await t.throwsAsync(collect(decode(bytes, compression, 'test')), { instanceOf: CacheError, code: 'CORRUPT' });
      }
    }
    if (compression === 'gzip') {
      for (const behind of zeros) {
        const bytes = inChunks(Buffer.concat([packed, behind]), 65_536);
        t.is((await collect(decode(bytes, compression, 'test'))).length, MIB);
      }
    }
    const twice = Buffer.concat([packed, packed]);
    t.is((await collect(decode(inChunks(twice, 65_536), compression, 'test'))).length, 2 * MIB);
  }
});

test('a zstd window may have 512 MiB, and a larger one is no damage', async (t) => {
  const { CCtx, CParameter, EndDirective } = (await import('zstd-napi/binding.js')).default;
  const packWithWindow = (log: number) => {
    const context = new CCtx();
    context.setParameter(CParameter.windowLog, log);
    context.setParameter(CParameter.contentSizeFlag, 0);
    const packed = Buffer.alloc(1000);
    // In two steps, so that the size is not known and the window is as large as it was asked to be.
    const [, first] = context.compressStream2(packed, Buffer.from('hello'), EndDirective.flush);
    const [, second] = context.compressStream2(packed.subarray(first), Buffer.alloc(0), EndDirective.end);
    return packed.subarray(0, first + second);
  };
  t.is((await collect(decode(inChunks(packWithWindow(29), 100), 'zstd', 'test'))).toString(), 'hello');
  const error = await t.throwsAsync(collect(decode(inChunks(packWithWindow(30), 100), 'zstd', 'test')), {
    instanceOf: CacheError,
  });
  t.is(error.code, 'FAILED');
  t.regex(error.message, /window of more than 512 MiB/);
});

test('a zstd stream that is given up leaves the process and the next streams alone', async (t) => {
  const huge = Buffer.concat([LARGE, LARGE, LARGE, LARGE]);
  for (const level of [3, 1, 2, 4, 6, 19, 3]) {
    const given = encode(inChunks(huge, MIB), { compression: 'zstd', level }, { where: 'test', threads: 2 });
    t.is((await given.next()).done, false);
    await given.return(undefined);
  }
  const encoding = { compression: 'zstd', level: 3 } as const;
  t.true(decompress(await pack(LARGE, encoding, MIB, 2)).equals(LARGE));
});

test('a stream that ends early is damaged', async (t) => {
  for (const compression of ['gzip', 'zstd'] as const) {
    const packed = await pack(LARGE, { compression, level: 1 }, MIB, 2);
    for (const length of [packed.length - 1, packed.length - 20, 1000]) {
      await t.throwsAsync(collect(decode(inChunks(packed.subarray(0, length), MIB), compression, 'test')), {
        instanceOf: CacheError,
        code: 'CORRUPT',
      });
    }
  }
});
