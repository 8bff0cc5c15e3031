import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import test from 'ava';
import { deflateStrategy } from '../../src/codec/deflate-strategy.js';
import { encodeGzip } from '../../src/codec/gzip.js';

const MIB = 1024 * 1024;

/** Bytes without any order, the same each time. */
function noise(length: number, seed = 'noise'): Buffer {
  const parts = Array.from({ length: Math.ceil(length / 64) }, (_, index) =>
    createHash('sha512').update(`${seed} ${index}`).digest(),
  );
  return Buffer.concat(parts).subarray(0, length);
}

/** As the weights of a model: the low bytes of each number are noise, the high one is not. */
function weights(length: number): Buffer {
  const bytes = noise(length);
  for (let at = 3; at < length; at += 4) bytes[at] = 0x3c + ((bytes[at] ?? 0) % 5);
  return bytes;
}

const text = (length: number) => Buffer.alloc(length, 'the quick brown fox jumps over the lazy dog\n');

async function gzipped(bytes: Buffer, level: number): Promise<Buffer> {
  async function* chunks() {
    yield bytes;
  }
  const parts: Uint8Array[] = [];
  for await (const part of encodeGzip(chunks(), level)) parts.push(part);
  return Buffer.concat(parts);
}

test('noise is stored, weights are only coded, text is searched', (t) => {
  t.is(deflateStrategy(noise(MIB)), 'stored');
  t.is(deflateStrategy(weights(MIB)), 'huffman');
  t.is(deflateStrategy(text(MIB)), 'matches');
  t.is(deflateStrategy(new Uint8Array()), 'matches');
});

test('text that lies between the pieces of the sample is found', (t) => {
  for (const at of [32, 101, 500, 700, 900]) {
    const block = noise(MIB);
    text(32 * 1024).copy(block, at * 1024);
    t.is(deflateStrategy(block), 'matches', `${at} KiB`);
  }
});

test('a repeat of noise under the sample is found', (t) => {
  const block = noise(MIB);
  block.copy(block, 4096, 0, 4096);
  t.is(deflateStrategy(block), 'matches');
});

test('hard data is as small as with a full search, within 1 %, and comes back', async (t) => {
  const bytes = Buffer.concat([noise(2 * MIB), weights(2 * MIB), text(MIB), noise(100_000, 'tail')]);
  for (const level of [1, 6, 8]) {
    const packed = await gzipped(bytes, level);
    t.true(gunzipSync(packed).equals(bytes));
    t.true(packed.length < gzipSync(bytes, { level }).length * 1.01, `level ${level}: ${packed.length}`);
  }
});
