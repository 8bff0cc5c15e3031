import test from 'ava';
import fc from 'fast-check';
import { collect } from '../../src/bytes/collect.js';
import { listFiles } from '../../src/delta/file-list.js';
import { bytesReader } from '../../src/delta/random-reader.js';
import { makeDelta } from '../../src/delta/write/make-delta.js';
import type { DeltaSource } from '../../src/delta/write/source-space.js';
import { CacheError } from '../../src/errors.js';
import { sha256 } from '../../src/oci/digest.js';
import { applied, inChunks, newTar, oldTars, PAIRS } from '../support/deltas.js';
import { readDelta } from '../support/second-reader.js';
import { noise, tarOf, type TestEntry } from '../support/tars.js';

/** A layer's tar as a source. */
async function sourceOf(tar: Buffer, isAtHand = true): Promise<DeltaSource> {
  const diffID = sha256(tar);
  const files = await listFiles(inChunks(tar, 5000), diffID);
  return { name: diffID.replace(':', '/'), reader: isAtHand ? bytesReader(tar) : undefined, files };
}

/** Makes a delta, and checks that two readers rebuild the tar from it and that it is made the same twice. */
async function roundTrip(tar: Buffer, olds: readonly Buffer[], isAtHand = true, level: 'normal' | 'max' = 'normal') {
  const files = await listFiles(inChunks(tar, 5000), sha256(tar));
  const sources = await Promise.all(olds.map((old) => sourceOf(old, isAtHand)));
  const made = await makeDelta(bytesReader(tar), files, sources, { level });
  const delta = await collect(made.bytes);
  const again = await makeDelta(bytesReader(tar), files, sources, { level });
  if (!(await collect(again.bytes)).equals(delta)) throw new Error('not the same twice');

  const read = readDelta(
    delta,
    Object.fromEntries(sources.map(({ name }, index) => [name, olds[index] ?? Buffer.alloc(0)])),
  );
  if (!read.tar.equals(tar)) throw new Error('the second reader makes another tar');
  const readers = new Map(sources.map(({ name }, index) => [name, bytesReader(olds[index] ?? Buffer.alloc(0))]));
  if (!(await applied(delta, readers, tar)).equals(tar)) throw new Error('another tar');
  if (made.given.reduce((sum, one) => sum + one, made.fresh) !== tar.length) throw new Error('bytes are counted wrong');
  return { ...read, delta, made };
}

test('any two tars, and any bytes, come back from the delta between them', async (t) => {
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 3000 }),
    fc.tuple(fc.nat(5), fc.nat(9000)).map(([seed, size]) => noise(seed, size)),
    // The same content with a few other bytes, and with some inserted.
    fc
      .tuple(fc.nat(5), fc.nat(8000), fc.uint8Array({ maxLength: 90 }), fc.boolean())
      .map(([seed, at, bytes, inserts]) => {
        const old = noise(seed, 9000);
        return Buffer.concat([old.subarray(0, at), bytes, old.subarray(inserts ? at : at + bytes.length)]);
      }),
  );
  const name = fc.oneof(
    fc.constantFrom('a', 'b', 'lib/python3.11/os', 'lib/python3.13/os', 'n'.repeat(150), 'ü/ελ'),
    fc.stringMatching(/^[a-z]{1,9}$/),
  );
  const entry: fc.Arbitrary<TestEntry> = fc.oneof(
    fc.record({ name, bytes: content, mtime: fc.nat(3) }),
    fc.record({ name, type: fc.constant('directory' as const), mtime: fc.nat(3) }),
    fc.record({ name, type: fc.constantFrom('symlink' as const, 'link' as const), linkname: name }),
    fc.record({
      name,
      bytes: content,
      pax: fc.record({ 'SCHILY.xattr.user.note': fc.stringMatching(/^[a-z]{1,99}$/) }),
    }),
  );
  const tar = fc.array(entry, { maxLength: 6 });
  const cut = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.nat(2000));
  await fc.assert(
    fc.asyncProperty(
      tar,
      fc.array(tar, { maxLength: 3 }),
      cut,
      fc.boolean(),
      async (entries, olds, cutOff, isAtHand) => {
        const made = await tarOf(entries);
        const whole = made.subarray(0, made.length - Math.min(cutOff, made.length));
        await roundTrip(whole, await Promise.all(olds.map((old) => tarOf(old))), isAtHand);
      },
    ),
    { numRuns: 60 },
  );
  await fc.assert(
    fc.asyncProperty(content, fc.array(content, { maxLength: 3 }), async (bytes, olds) => {
      await roundTrip(
        Buffer.from(bytes),
        olds.map((old) => Buffer.from(old)),
      );
    }),
    { numRuns: 60 },
  );
  t.pass();
});

test('the pairs of fixtures come back', async (t) => {
  for (const pair of PAIRS) {
    const tar = newTar(pair);
    if (tar === undefined) continue;
    const { frame, delta } = await roundTrip(tar, oldTars(pair));
    t.true(frame.hasChecksum, pair);
    t.true(frame.contentSize >= 0, pair);
    t.true(delta.length < tar.length, pair);
  }
});

test('bytes that end within a header, a content or its padding come back', async (t) => {
  const tar = await tarOf([
    { name: 'a', bytes: noise(1, 700) },
    { name: 'n'.repeat(150), bytes: noise(2, 700) },
  ]);
  for (let size = 0; size <= tar.length; size += 193) {
    await roundTrip(tar.subarray(0, size), [tar]);
    await roundTrip(tar, [tar.subarray(0, size)]);
    await roundTrip(tar.subarray(0, size), [tar], false);
  }
  t.pass();
});

test('a header that states a size beyond the tar is harmless', async (t) => {
  const tar = await tarOf([{ name: 'a', bytes: noise(1, 700) }]);
  const lying = Buffer.from(tar);
  lying.write('77777777777\0', 124, 'latin1');
  const sum = lying.subarray(0, 512).reduce((all, byte, at) => all + (at >= 148 && at < 156 ? 32 : byte), 0);
  lying.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  await roundTrip(lying, [tar]);
  await roundTrip(tar, [lying]);
  await roundTrip(lying, [lying]);
  t.pass();
});

test('a file of which a byte has changed costs some bytes', async (t) => {
  const entries = Array.from({ length: 40 }, (_, index) => ({ name: `app/${index}`, bytes: noise(index, 20_000) }));
  const old = await tarOf(entries);
  const changed = noise(7, 20_000);
  changed[9000] = 1 + (changed[9000] ?? 0);
  const { delta, made } = await roundTrip(await tarOf(entries.with(7, { name: 'app/7', bytes: changed })), [old]);
  t.true(delta.length < 150, `${delta.length} bytes`);
  t.is(made.fresh, 0);
});

test('new times alone cost a few bytes a file', async (t) => {
  const entriesAt = (mtime: number) =>
    Array.from({ length: 300 }, (_, index) => ({
      name: `app/${index}`,
      bytes: noise(index, 1000 + index),
      mtime: mtime + (index % 60),
    }));
  const { delta } = await roundTrip(await tarOf(entriesAt(1_750_000_000)), [await tarOf(entriesAt(1_700_000_000))]);
  t.true(delta.length < 300 * 5, `${delta.length} bytes`);
});

test('bytes inserted in a file, and a file under another name, are found', async (t) => {
  const content = noise(1, 300_000);
  const old = await tarOf([
    { name: 'before', bytes: noise(2, 5000) },
    { name: 'data', bytes: content },
  ]);
  const inserted = Buffer.concat([
    content.subarray(0, 100_001),
    Buffer.from('inserted here'),
    content.subarray(100_001),
  ]);
  for (const name of ['data', 'another-name']) {
    const { delta, made } = await roundTrip(await tarOf([{ name, bytes: inserted }]), [old]);
    t.true(delta.length < 400, `${delta.length} bytes`);
    t.true(made.fresh < 1200, `${made.fresh} bytes`);
  }
});

test('several sources give each their part, and a delta says how much', async (t) => {
  const [one, two, three] = [noise(1, 50_000), noise(2, 60_000), noise(3, 70_000)];
  const olds = [await tarOf([{ name: 'one', bytes: one }]), await tarOf([{ name: 'two', bytes: two }])];
  const tar = await tarOf([
    { name: 'one', bytes: one },
    { name: 'two', bytes: two },
    { name: 'three', bytes: three },
  ]);
  const { made, operations } = await roundTrip(tar, olds);
  t.true((made.given[0] ?? 0) >= 50_512);
  t.true((made.given[1] ?? 0) >= 60_512);
  t.true(made.fresh >= 70_000 && made.fresh < 72_000);
  t.is(operations.filter(({ name }) => name === 'OPEN').length, 2);
});

test('without any source, or with empty ones, all is in the delta', async (t) => {
  const tar = await tarOf([{ name: 'a', bytes: noise(1, 5000) }]);
  for (const olds of [[], [Buffer.alloc(0)], [Buffer.alloc(1024), Buffer.alloc(0)]]) {
    const { made } = await roundTrip(tar, olds);
    t.true(made.fresh >= 5512);
    await roundTrip(Buffer.alloc(0), olds);
  }
});

test('of a source whose list of files alone is known, files and the headers before them are copied', async (t) => {
  const entries: TestEntry[] = Array.from({ length: 20 }, (_, index) => [
    { name: `app/${index}/`, type: 'directory' as const },
    { name: `app/${index}/file`, bytes: noise(index, 3000) },
  ]).flat();
  const old = await tarOf(entries);
  const same = await roundTrip(old, [old], false);
  // The last file's padding and the end of the tar.
  t.true(same.made.fresh < 20 * 512 + 1024, `${same.made.fresh}`);
  t.true(same.operations.filter(({ name }) => name === 'COPY').every(({ size }) => size >= 3000));

  const renamed = entries.with(7, { name: 'app/3/other', bytes: noise(3, 3000) });
  const other = await roundTrip(await tarOf(renamed), [old], false);
  t.true(other.made.fresh > same.made.fresh);
  // A content is at hand nowhere: what has changed by one byte is in the delta.
  const changed = noise(3, 3000);
  changed[5] = 1 + (changed[5] ?? 0);
  const third = await roundTrip(await tarOf(entries.with(7, { name: 'app/3/file', bytes: changed })), [old], false);
  t.true(third.made.fresh >= same.made.fresh + 3000);
});

test('of the copies of a file, the one where the copy goes on is taken', async (t) => {
  const [license, a, b] = [noise(1, 2000), noise(2, 2000), noise(3, 2000)];
  const old = await tarOf([
    { name: 'LICENSE', bytes: license },
    { name: 'a', bytes: a },
    { name: 'a.LICENSE', bytes: license },
    { name: 'b', bytes: b },
    { name: 'b.LICENSE', bytes: license },
  ]);
  const { operations } = await roundTrip(old, [old]);
  t.deepEqual(operations, [
    { name: 'OPEN', size: 71 },
    { name: 'COPY', size: old.length },
  ]);
});

test('with every byte flipped, a small delta is refused or right', async (t) => {
  const old = await tarOf([
    { name: 'a', bytes: noise(1, 3000) },
    { name: 'b', bytes: noise(2, 600) },
  ]);
  const changed = noise(1, 3000);
  changed[1500] = 1 + (changed[1500] ?? 0);
  const tar = await tarOf([
    { name: 'a', bytes: changed, mtime: 5 },
    { name: 'new', bytes: noise(3, 80) },
    { name: 'b', bytes: noise(2, 600) },
  ]);
  const { delta } = await roundTrip(tar, [old]);
  const sources = new Map([[`sha256/${sha256(old).slice(7)}`, bytesReader(old)]]);
  let refused = 0;
  for (let at = 0; at < delta.length; at++) {
    for (const flip of [1, 0x80, 0xff]) {
      const damaged = Buffer.from(delta);
      damaged[at] = (damaged[at] ?? 0) ^ flip;
      try {
        t.deepEqual(await applied(damaged, sources, tar), tar);
      } catch (error) {
        if (!(error instanceof CacheError)) throw error;
        refused++;
      }
    }
  }
  t.true(refused > 2.9 * delta.length);
});

test('level max makes no larger delta', async (t) => {
  const words = Array.from({ length: 200_000 }, (_, index) => `${noise(index >> 3, 2).toString('hex')} word\n`);
  const tar = await tarOf([{ name: 'text', bytes: Buffer.from(words.join('')) }]);
  const normal = await roundTrip(tar, []);
  const most = await roundTrip(tar, [], true, 'max');
  t.true(most.delta.length <= normal.delta.length);
});

test('making a delta stops when its signal aborts', async (t) => {
  const tar = await tarOf([{ name: 'a', bytes: noise(1, 5_000_000) }]);
  const source = await sourceOf(await tarOf([{ name: 'b', bytes: noise(2, 5_000_000) }]));
  const files = await listFiles(inChunks(tar, 100_000), sha256(tar));
  const controller = new AbortController();
  const making = makeDelta(bytesReader(tar), files, [source], { level: 'normal', signal: controller.signal });
  setImmediate(() => controller.abort(new Error('enough')));
  await t.throwsAsync(making, { message: 'enough' });
});
