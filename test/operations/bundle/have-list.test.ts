import test from 'ava';
import fc from 'fast-check';
import { CacheError } from '../../../src/errors.js';
import { decodeHaveList, encodeHaveList, hasLayer, inCommon } from '../../../src/operations/bundle/have-list.js';
import { UNCOMPRESSED } from '../../../src/oci/descriptor.js';
import { parseDigest } from '../../../src/oci/digest.js';
import { digestOf } from '../../support/graphs.js';

const digests = fc
  .array(
    fc.oneof(
      fc.nat(50).map((n) => digestOf(`${n}`)),
      fc.nat(5).map((n) => parseDigest(`sha512:${`${n}`.repeat(128)}`, 'test')),
    ),
  )
  .map((list) => new Set(list));
const lists = fc.record({ blobs: digests, diffIDs: digests });

test('a list is read as it was written, and equal lists are equal bytes', (t) =>
  fc
    .assert(
      fc.asyncProperty(lists, async (list) => {
        const bytes = await encodeHaveList(list);
        const back = await decodeHaveList(bytes, 'have');
        t.deepEqual([...back.blobs].toSorted(), [...list.blobs].toSorted());
        t.deepEqual([...back.diffIDs].toSorted(), [...list.diffIDs].toSorted());
        const shuffled = { blobs: new Set([...list.blobs].toReversed()), diffIDs: list.diffIDs };
        t.true((await encodeHaveList(shuffled)).equals(bytes));
      }),
      { numRuns: 50 },
    )
    .then(() => t.pass()));

test('a blob takes a few bytes more than its hash', async (t) => {
  const blobs = new Set(Array.from({ length: 10_000 }, (_, n) => digestOf(`${n}`)));
  const { length } = await encodeHaveList({ blobs, diffIDs: new Set() });
  t.true(length < 10_000 * 33, `${length}`);
});

test('a list that is cut short or damaged is refused', async (t) => {
  const bytes = await encodeHaveList({
    blobs: new Set([digestOf('a'), digestOf('b')]),
    diffIDs: new Set([digestOf('c')]),
  });
  const wrong = [...Array(bytes.length).keys()].map((size) => bytes.subarray(0, size));
  // Behind the header of gzip, whose time and system nobody reads.
  for (let at = 10; at < bytes.length; at++) {
    const flipped = Buffer.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ 4;
    wrong.push(flipped);
  }
  for (const one of [...wrong, Buffer.from('hello')]) {
    const error = await t.throwsAsync(decodeHaveList(one, 'have'), { instanceOf: CacheError });
    t.is(error.code, 'CORRUPT');
    t.regex(error.hint ?? '', /bkcache have/);
  }
});

test('several receivers have in common what each of them has', (t) => {
  const [a, b, c] = ['a', 'b', 'c'].map((name) => digestOf(name)) as [
    ReturnType<typeof digestOf>,
    ReturnType<typeof digestOf>,
    ReturnType<typeof digestOf>,
  ];
  const common = inCommon([
    { blobs: new Set([a, b]), diffIDs: new Set([c]) },
    { blobs: new Set([b]), diffIDs: new Set([a, c]) },
  ]);
  t.deepEqual(common, { blobs: new Set([b]), diffIDs: new Set([c]) });
  t.true(hasLayer(common, { digest: b }));
  t.true(hasLayer(common, { digest: a, annotations: { [UNCOMPRESSED]: c } }));
  t.false(hasLayer(common, { digest: a }));
});
