import { readdirSync, readFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import { Compressor } from 'zstd-napi';
import { collect } from '../../src/bytes/collect.js';
import { bytesReader, type RandomReader } from '../../src/delta/random-reader.js';
import { applyDelta, type Promised } from '../../src/delta/read/apply-delta.js';
import { CacheError } from '../../src/errors.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import {
  applied,
  deltaFixture,
  inChunks,
  newTar,
  oldTars,
  op,
  operation,
  PAIRS,
  tarDiff,
  treeOf,
} from '../support/deltas.js';

/** Of the new tar that is not stored. */
const INSERT = {
  size: 66_560,
  diffID: 'sha256:b174d1e4c3fba39e3eb2b328bc31bf87ea55162f6195e570cdb12efdf3a3adc3' as Digest,
};

const source = Buffer.from('the quick brown fox jumps over the lazy dog');
const sources = new Map([['sha256/aa', bytesReader(source)]]);

async function refusal(
  delta: Uint8Array,
  promised: Promised,
  from: ReadonlyMap<string, RandomReader> = sources,
): Promise<{ readonly message: string; readonly code: string; readonly delivered: number }> {
  let delivered = 0;
  try {
    for await (const chunk of applyDelta(inChunks(delta), from, promised)) delivered += chunk.length;
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return { message: error.message, code: error.code, delivered };
  }
  throw new Error('the delta was applied');
}

function promiseOf(bytes: Uint8Array): Promised {
  return { size: bytes.length, diffID: sha256(bytes) };
}

test('deltas that containers/tar-diff made give the new tar', async (t) => {
  t.is(PAIRS.length, 16);
  for (const pair of PAIRS) {
    const tree = await treeOf(oldTars(pair));
    const tar = newTar(pair);
    const deltas = readdirSync(deltaFixture(pair)).filter((name) => name.endsWith('.tardiff'));
    t.true(deltas.length > 0);
    for (const name of deltas) {
      const delta = readFileSync(deltaFixture(pair, name));
      for (const size of [1, 100, delta.length]) {
        const made = await collect(
          applyDelta(inChunks(delta, size), tree, tar === undefined ? INSERT : promiseOf(tar)),
        );
        if (tar !== undefined) t.deepEqual(made, tar, `${pair}/${name}`);
      }
    }
  }
});

/** Why each of the hostile deltas in fixtures/ is refused. */
const REASONS: Readonly<Record<string, RegExp>> = {
  absolute: /"\/etc\/hostname", which is none of its sources/,
  'add-data-beyond': /reads to 965 of a source with 961 bytes/,
  'copy-too-much': /reads to 962 of a source with 961 bytes/,
  'cut-off': /zstd stream is damaged: unexpected end of file/,
  'dictionary-in-version-1': /operation 5, which exists in version 2 only/,
  'dot-dot': /"\.\.\/outside\.txt", which is none of its sources/,
  'larger-than-promised': /makes more than the 5120 bytes of the layer/,
  'seek-behind-end': /seeks to 1961 of a source with 961 bytes/,
  'size-without-data': /makes more than the 5120 bytes of the layer/,
  symlink: /"app\/passwd", which is none of its sources/,
  'unknown-operation': /operation 6 does not exist/,
};

test('hostile deltas are refused for their reason, and no byte over the promise is made', async (t) => {
  const tree = await treeOf([readFileSync(deltaFixture('hostile', 'old.tar'))]);
  const promised = JSON.parse(readFileSync(deltaFixture('hostile', 'promised.json'), 'utf8')) as Promised;
  const folders = readdirSync(deltaFixture('hostile'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  t.deepEqual(folders.map(({ name }) => name).toSorted(), Object.keys(REASONS).toSorted());
  for (const { name } of folders) {
    const delta = readFileSync(deltaFixture('hostile', name, 'delta.tardiff'));
    const { code, message, delivered } = await refusal(delta, promised, tree);
    t.is(code, 'CORRUPT', name);
    t.regex(message, REASONS[name] ?? /^$/);
    t.true(delivered <= promised.size, name);
  }
  const sound = readFileSync(deltaFixture('hostile', 'sound.tardiff'));
  t.is((await collect(applyDelta(inChunks(sound), tree, promised))).length, promised.size);
});

test('what a delta must not do is refused', async (t) => {
  const [open, some] = [op.open('sha256/aa'), op.data(Buffer.from('some'))];
  const cases: readonly (readonly [delta: Buffer, reason: RegExp])[] = [
    [Buffer.from('tardf3\n\0'), /no header of a tar-diff/],
    [Buffer.from('tar'), /no header of a tar-diff/],
    [Buffer.alloc(0), /no header of a tar-diff/],
    [tarDiff(1, op.copy(4)), /reads before it opens a source/],
    [tarDiff(1, op.seek(0)), /reads before it opens a source/],
    [tarDiff(1, op.addData(Buffer.alloc(4))), /reads before it opens a source/],
    [tarDiff(2, op.zstdDictionary(Buffer.alloc(4))), /reads before it opens a source/],
    [tarDiff(1, op.open('')), /"", which is none of its sources/],
    [tarDiff(1, op.open('sha256/../sha256/aa')), /which is none of its sources/],
    [tarDiff(1, op.open('__proto__')), /which is none of its sources/],
    [tarDiff(1, op.open('a'.repeat(5000))), /name of a source has 5000 bytes/],
    [tarDiff(1, operation(1, 2 ** 40)), /name of a source has 1099511627776 bytes/],
    [tarDiff(1, open, op.seek(source.length + 1)), /seeks to 44 of a source with 43 bytes/],
    [tarDiff(1, open, op.seek(source.length), op.copy(1)), /reads to 44 of/],
    [tarDiff(1, open, op.seek(2 ** 52), op.copy(1)), /seeks to 4503599627370496 of/],
    [tarDiff(1, some, Buffer.from([0])), /stream ends within an operation/],
    [tarDiff(1, some, Buffer.from([0, 0x80])), /stream ends within an operation/],
    [tarDiff(1, Buffer.from([0, ...Array.from({ length: 10 }, () => 0x80), 0])), /a size has more than 64 bits/],
    [tarDiff(1, Buffer.from([0, ...Array.from({ length: 9 }, () => 0xff), 0x7f])), /more than the 4 bytes/],
    [tarDiff(1, operation(0, 4), Buffer.from('som')), /stream ends within an operation/],
    [tarDiff(1, op.data(Buffer.from('som'))), /makes 3 bytes instead of 4/],
    [tarDiff(1), /makes 0 bytes instead of 4/],
    [tarDiff(1, op.data(Buffer.from('sum!'))), /a tar whose bytes hash to sha256:/],
    [Buffer.concat([tarDiff(1, some), Buffer.from('x')]), /zstd stream is damaged/],
    [Buffer.concat([tarDiff(1, some), Buffer.from('more')]), /zstd stream is damaged/],
    [tarDiff(2, open, op.zstdDictionary(Buffer.from('no frame'))), /operation 5 without a zstd frame/],
    [tarDiff(2, open, op.zstdDictionary(Buffer.alloc(0))), /operation 5 without a zstd frame/],
  ];
  for (const [delta, reason] of cases) {
    const { code, message } = await refusal(delta, promiseOf(Buffer.from('some')));
    t.is(code, 'CORRUPT');
    t.regex(message, reason);
  }
});

test('operations that make nothing have an end', async (t) => {
  const seeks = Buffer.concat(Array.from({ length: 1000 }, () => op.seek(1)));
  const endless = (async function* () {
    const { CompressStream } = await import('zstd-napi');
    yield Buffer.from('tardf1\n\0');
    const stream = new CompressStream();
    stream.write(op.open('sha256/aa'));
    for (let round = 0; round < 1000; round++) stream.write(seeks);
    stream.end();
    yield* stream as AsyncIterable<Buffer>;
  })();
  const error = await t.throwsAsync(collect(applyDelta(endless, sources, promiseOf(Buffer.from('some')))));
  t.regex(error.message, /more than 1048592 bytes of operations/);
});

/** A frame that has the source as its dictionary. */
function frameOver(dictionary: Uint8Array, content: Uint8Array): Buffer {
  const compressor = new Compressor();
  compressor.setParameters({ compressionLevel: 3, checksumFlag: true });
  // As in the format: the whole source as raw content. A byte before it changes no offset.
  compressor.loadDictionary(Buffer.concat([Buffer.from([0]), dictionary]));
  return compressor.compress(content);
}

test('a frame with the source as its dictionary is read, also of one that begins as a trained dictionary', async (t) => {
  const content = Buffer.concat([source.subarray(4), Buffer.from('and more'), source]);
  for (const begin of ['', '37a430ec', '37a430ec00000000', '28b52ffd']) {
    const old = Buffer.concat([Buffer.from(begin, 'hex'), source]);
    const from = new Map([['sha256/aa', bytesReader(old)]]);
    const frame = frameOver(old, content);
    // The frame is of use only with its dictionary.
    t.true(frame.length < 40);
    // It leaves the position at the end of the source.
    const rest = [op.copy(0), op.seek(0), op.copy(old.length)];
    const delta = tarDiff(2, op.data(Buffer.from('<')), op.open('sha256/aa'), op.zstdDictionary(frame), ...rest);
    const promised = Buffer.concat([Buffer.from('<'), content, old]);
    t.deepEqual(await applied(delta, from, promised), promised);
    const { message } = await refusal(
      tarDiff(2, op.open('sha256/aa'), op.zstdDictionary(frame), op.copy(1)),
      promiseOf(promised),
      from,
    );
    t.regex(message, new RegExp(`reads to ${old.length + 1} of a source with ${old.length} bytes`));
  }
  const empty = new Map([['sha256/aa', bytesReader(Buffer.alloc(0))]]);
  const delta = tarDiff(2, op.open('sha256/aa'), op.zstdDictionary(frameOver(Buffer.alloc(0), content)));
  t.deepEqual(await applied(delta, empty, content), content);
});

test('damaged frames with a dictionary are refused', async (t) => {
  const content = Buffer.concat([source, source.subarray(3)]);
  const frame = frameOver(source, content);
  const apply = (changed: Uint8Array, promised = content) =>
    refusal(tarDiff(2, op.open('sha256/aa'), op.zstdDictionary(changed)), promiseOf(promised));
  t.regex((await apply(frame.subarray(0, -1))).message, /is cut short/);
  t.regex((await apply(Buffer.concat([frame, Buffer.from('x')]))).message, /bytes follow the zstd frame/);
  t.regex((await apply(Buffer.concat([frame, frame]))).message, /bytes follow the zstd frame/);
  const flipped = Buffer.from(frame);
  flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
  t.regex((await apply(flipped)).message, /is damaged/);
  t.regex((await apply(frame, content.subarray(1))).message, /makes more than the 82 bytes/);
  // A window of 2 GiB, and one of 256 MiB.
  for (const window of [0xa8, 0x90]) {
    const { message } = await apply(Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, window, 1, 0, 0]));
    t.regex(message, /window of \d+ bytes, too many for the layer/);
  }
});

test('a large source as a dictionary is refused with the reason', async (t) => {
  const large = { size: 64 * 1024 * 1024 + 1, read: () => t.fail() };
  const delta = tarDiff(2, op.open('large'), op.zstdDictionary(Buffer.alloc(20)));
  const { code, message } = await refusal(delta, promiseOf(source), new Map([['large', large]]));
  t.is(code, 'FAILED');
  t.regex(message, /a file of 67108865 bytes as zstd dictionary; up to 67108864 are supported/);
});

test('every operation gives its bytes, however the stream is cut', async (t) => {
  const letters = fc.uint8Array({ maxLength: 300 });
  const piece = fc.oneof(
    letters.map((bytes) => ({ kind: 'data' as const, bytes })),
    fc.record({ kind: fc.constant('copy' as const), at: fc.nat(299), length: fc.nat(100) }),
    fc.record({ kind: fc.constant('add' as const), at: fc.nat(299), bytes: letters }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 300 }),
      fc.array(piece),
      fc.integer({ min: 1, max: 50 }),
      async (old, pieces, cut) => {
        const operations = [op.open('old')];
        const made: Uint8Array[] = [];
        for (const one of pieces) {
          if (one.kind === 'data') {
            operations.push(op.data(one.bytes));
            made.push(one.bytes);
            continue;
          }
          const part = old.subarray(one.at, one.at + (one.kind === 'copy' ? one.length : one.bytes.length));
          operations.push(op.seek(one.at));
          if (one.kind === 'copy') {
            operations.push(op.copy(part.length));
            made.push(part);
          } else {
            const added = one.bytes.subarray(0, part.length);
            operations.push(op.addData(added));
            made.push(part.map((byte, at) => byte + (added[at] ?? 0)));
          }
        }
        const promised = Buffer.concat(made);
        const delta = inChunks(tarDiff(1, ...operations), cut);
        const from = new Map([['old', bytesReader(old)]]);
        t.deepEqual(await collect(applyDelta(delta, from, promiseOf(promised))), promised);
      },
    ),
  );
});

test('a delta that is given up closes its stream', async (t) => {
  let isClosed = false;
  const delta = (async function* () {
    try {
      yield* inChunks(tarDiff(1, op.data(Buffer.alloc(600_000))));
    } finally {
      isClosed = true;
    }
  })();
  for await (const chunk of applyDelta(delta, sources, promiseOf(Buffer.alloc(600_000)))) {
    t.true(chunk.length > 0);
    break;
  }
  t.true(isClosed);
  const controller = new AbortController();
  const running = applyDelta(
    inChunks(tarDiff(1, op.data(Buffer.alloc(600_000)))),
    sources,
    promiseOf(Buffer.alloc(600_000)),
    {
      signal: controller.signal,
    },
  );
  await running.next();
  controller.abort(new Error('enough'));
  await t.throwsAsync(collect(running), { message: 'enough' });
});
