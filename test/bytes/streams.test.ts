import test from 'ava';
import fc from 'fast-check';
import { beginning } from '../../src/bytes/beginning.js';
import { collect } from '../../src/bytes/collect.js';
import { limited } from '../../src/bytes/limited.js';
import { inPieces } from '../../src/bytes/pieces.js';
import { splitAt } from '../../src/bytes/split.js';

/** A stream, and whether it was closed. */
async function* streamOf(
  chunks: readonly Uint8Array[],
  onClose?: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* chunks;
  } finally {
    onClose?.();
  }
}

const streams = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 12 });

test('pieces are the same bytes, each of the size but the last', async (t) => {
  await fc.assert(
    fc.asyncProperty(streams, fc.integer({ min: 1, max: 30 }), async (chunks, size) => {
      const pieces: Uint8Array[] = [];
      for await (const piece of inPieces(streamOf(chunks), size)) pieces.push(piece);
      t.deepEqual(Buffer.concat(pieces), Buffer.concat(chunks));
      t.true(pieces.slice(0, -1).every((piece) => piece.length === size));
      t.true(pieces.slice(-1).every((piece) => piece.length > 0 && piece.length <= size));
    }),
  );
});

test('a stream of no more than the limit is all beginning, and a longer one is whole in the rest', async (t) => {
  await fc.assert(
    fc.asyncProperty(streams, fc.nat(100), async (chunks, most) => {
      const whole = Buffer.concat(chunks);
      const { head, rest } = await beginning(streamOf(chunks), most);
      if (rest === undefined) t.deepEqual(head, whole);
      else t.deepEqual(await collect(rest), whole);
      t.is(rest === undefined, whole.length <= most);
    }),
  );
});

test('the two parts of a stream are its bytes before and from the offset', async (t) => {
  await fc.assert(
    fc.asyncProperty(streams, fc.nat(100), async (chunks, offset) => {
      const whole = Buffer.concat(chunks);
      const { head, tail } = splitAt(streamOf(chunks), offset);
      t.deepEqual(await collect(head), whole.subarray(0, offset));
      t.deepEqual(await collect(tail), whole.subarray(offset));
    }),
  );
});

test('a stream over its limit fails at the first byte too many, and is closed', async (t) => {
  const tooMany = () => new Error('too many');
  let isClosed = false;
  const chunks = [Buffer.from('ab'), Buffer.from('cd')];
  t.is((await collect(limited(streamOf(chunks), 4, tooMany))).toString(), 'abcd');
  const stream = streamOf(chunks, () => (isClosed = true));
  await t.throwsAsync(collect(limited(stream, 3, tooMany)), { message: 'too many' });
  t.true(isClosed);
});
