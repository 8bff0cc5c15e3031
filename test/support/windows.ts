import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { decode } from '../../src/codec/decode.js';
import { collect } from '../../src/bytes/collect.js';

export const MIB = 1024 ** 2;

const zstd = (await import('zstd-napi/binding.js')).default;

/** A frame whose window is as large as it is asked to be, since its size is not said. */
export function frame(text: string, windowLog: number): Buffer {
  const context = new zstd.CCtx();
  context.setParameter(zstd.CParameter.windowLog, windowLog);
  const packed = Buffer.alloc(1000);
  const [, first] = context.compressStream2(packed, Buffer.from(text), zstd.EndDirective.flush);
  const [, second] = context.compressStream2(packed.subarray(first), Buffer.alloc(0), zstd.EndDirective.end);
  return packed.subarray(0, first + second);
}

export async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    await nextTurn();
    yield bytes.subarray(at, at + size);
  }
}

export async function textOf(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  return (await collect(bytes)).toString();
}

/** What the process has asked for, whether it was touched or not, in bytes. */
function memory(): number {
  const [, kilobytes] = /VmData:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

/** As a program of its own: unpacks 16 blobs at once, and prints how much memory that took at most and at the end. */
async function measure(windowMemory: number): Promise<void> {
  // The second frame needs more than the first.
  const blob = Buffer.concat([frame('a', 24), frame('b', 26)]);
  await textOf(decode(inPieces(blob, 10), 'zstd', 'here'));
  const before = memory();
  let most = 0;
  const watched = async function* () {
    for await (const piece of inPieces(blob, 10)) {
      most = Math.max(most, memory() - before);
      yield piece;
    }
  };
  const one = () => textOf(decode(watched(), 'zstd', 'here', { windowMemory }));
  const texts = await Promise.all(Array.from({ length: 16 }, one));
  process.stdout.write(JSON.stringify({ texts, most, left: memory() - before }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await measure(Number(process.argv[2]));
