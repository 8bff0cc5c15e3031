import { constants, deflateRawSync } from 'node:zlib';

/**
 * How a block of a tar is deflated. The search for matches takes nine tenths of deflate's time, even in data without matches:
 * archives, pictures and the weights of models.
 */
export type DeflateStrategy = 'matches' | 'huffman' | 'stored';

/** Entropy is computed for parts of this size, in bytes: a text of twice this length fills at least one part. */
const PART = 16 * 1024;
/** Parts below this entropy, in bits for each byte, often have matches. */
const HARD = 6.5;
/** The sample: pieces of a block, in bytes, and how many. */
const PIECE = 8 * 1024;
const PIECES = 4;
/** Matches that save less than this share of the sample are not searched for. */
const WORTH_MATCHES = 0.01;
/** A sample that keeps more than this share of its size is stored. */
const NOT_WORTH_HUFFMAN = 0.998;

/**
 * Chooses the strategy from the bytes of a block alone, so that the output depends on nothing else. The entropy of every part
 * of the block is computed, which finds text between noise. Only repeated noise outside the sample is not found.
 */
export function deflateStrategy(block: Uint8Array): DeflateStrategy {
  if (block.length < PIECE * PIECES) return 'matches';
  for (let at = 0; at < block.length; at += PART) {
    if (entropy(block.subarray(at, at + PART)) < HARD) return 'matches';
  }
  const sample = sampleOf(block);
  const withMatches = deflateRawSync(sample, { level: 4 }).length;
  const huffman = deflateRawSync(sample, { level: 4, strategy: constants.Z_HUFFMAN_ONLY }).length;
  if (huffman - withMatches > sample.length * WORTH_MATCHES) return 'matches';
  return huffman > sample.length * NOT_WORTH_HUFFMAN ? 'stored' : 'huffman';
}

/** Pieces at equal distances, the first at the start and the last at the end. */
function sampleOf(block: Uint8Array): Buffer {
  const step = Math.floor((block.length - PIECE) / (PIECES - 1));
  const pieces = Array.from({ length: PIECES }, (_, index) => block.subarray(index * step, index * step + PIECE));
  return Buffer.concat(pieces);
}

/** Shannon's entropy of single bytes, in bits. */
function entropy(bytes: Uint8Array): number {
  const counts = new Uint32Array(256);
  for (const byte of bytes) counts[byte] = (counts[byte] ?? 0) + 1;
  let bits = 0;
  for (const count of counts) if (count > 0) bits += count * Math.log2(bytes.length / count);
  return bits / bytes.length;
}
