import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { decode } from '../../src/codec/decode.js';
import { decodeZstd } from '../../src/codec/zstd.js';
import { windowOf } from '../../src/codec/zstd-frame.js';
import { CacheError } from '../../src/errors.js';
import { frame, inPieces, MIB, textOf } from '../support/windows.js';

const zstd = (await import('zstd-napi/binding.js')).default;

test('a frame says how large its window is', (t) => {
  for (let log = 10; log <= 27; log++) t.is(windowOf(frame('hello', log)), 2 ** log);
  for (const size of [1, 255, 256, 257, 65_791, 65_792, 200_000]) {
    const packed = Buffer.alloc(size + 1000);
    new zstd.CCtx().compress2(packed, Buffer.alloc(size, 'x'));
    t.is(windowOf(packed), size);
  }
  const head = frame('hello', 20);
  for (let length = 0; length < 6; length++) t.is(windowOf(head.subarray(0, length)), undefined);
  t.is(windowOf(Buffer.from('504d2a1804000000', 'hex')), 0);
});

test('frames with windows of any sizes come out whole, wherever they are cut', async (t) => {
  const skipped = Buffer.from('502a4d1803000000616263', 'hex');
  const blob = Buffer.concat([frame('a', 20), skipped, frame('b', 24), frame('c', 10), frame('d', 25), skipped]);
  for (const size of [1, 2, 5, 7, 100, 1000]) t.is(await textOf(decode(inPieces(blob, size), 'zstd', 'here')), 'abcd');
  for (const length of [1, 3, 5, 9]) {
    const cut = decode(inPieces(blob.subarray(0, length), 2), 'zstd', 'here');
    await t.throwsAsync(textOf(cut), { instanceOf: CacheError, code: 'CORRUPT' });
  }
});

const onLinux = existsSync('/proc/self/status') ? test : test.skip;
onLinux('all windows that are open at once share one budget, and none of them stays', (t) => {
  const program = fileURLToPath(new URL('../support/windows.js', import.meta.url));
  const measured = (limit: number) => {
    const output = execFileSync(process.execPath, [program, `${limit}`], { encoding: 'utf8' });
    return JSON.parse(output) as { readonly texts: string[]; readonly most: number; readonly left: number };
  };
  const [bounded, free] = [measured(128 * MIB), measured(4096 * MIB)];
  for (const { texts, left } of [bounded, free]) {
    t.deepEqual(
      texts,
      Array.from({ length: 16 }, () => 'ab'),
    );
    t.true(left < 64 * MIB, String(left));
  }
  t.true(bounded.most < 256 * MIB, String(bounded.most));
  t.true(free.most > 768 * MIB, String(free.most));
});

test('a window that is larger than all may be together is refused, and waiting can be given up', async (t) => {
  const error = await t.throwsAsync(
    textOf(decode(inPieces(frame('a', 26), 10), 'zstd', 'here', { windowMemory: 32 * MIB })),
    { instanceOf: CacheError },
  );
  t.like(error, { code: 'FAILED', message: 'here: the zstd stream has a window of 64 MiB, and 32 are allowed' });
  t.regex(error.hint ?? '', /--window-memory/);

  const options = { windowMemory: 64 * MIB, where: 'here' };
  const blame = (cause: Error) => new CacheError('CORRUPT', cause.message);
  const endless = async function* () {
    const bytes = frame('a', 26);
    yield bytes.subarray(0, bytes.length - 1);
    await new Promise(() => undefined);
  };
  const holder = decodeZstd(endless(), blame, options)[Symbol.asyncIterator]();
  void holder.next();
  const controller = new AbortController();
  const waiting = textOf(decodeZstd(inPieces(frame('b', 26), 10), blame, { ...options, signal: controller.signal }));
  setTimeout(() => controller.abort(), 50);
  await t.throwsAsync(waiting, { name: 'AbortError' });
});
