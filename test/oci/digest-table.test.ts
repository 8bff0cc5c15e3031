import test from 'ava';
import fc from 'fast-check';
import { sha256 } from '../../src/oci/digest.js';
import { Column, DigestTable } from '../../src/oci/digest-table.js';

/** Digests of every kind; those of few numbers, so that some come twice. */
const digest = fc.oneof(
  fc.nat(5000).map((number) => sha256(`${number}`)),
  fc.nat(50).map((number) => `sha512:${'0'.repeat(120)}${`${number}`.padStart(8, '0')}`),
  fc.nat(50).map((number) => `other+b64u:${number}`),
  // The same slot in a table of any size.
  fc.nat(500).map((number) => `sha256:${'0'.repeat(28)}${`${number}`.padStart(8, '0')}${'0'.repeat(28)}`),
);

test('a table numbers digests in the order in which they come, as a Map would', (t) => {
  fc.assert(
    fc.property(fc.array(digest, { maxLength: 6000, size: 'max' }), (digests) => {
      const table = new DigestTable();
      const known = new Map<string, number>();
      for (const one of digests) {
        t.is(table.find(one), known.get(one) ?? -1);
        if (!known.has(one)) known.set(one, known.size);
        t.is(table.add(one), known.get(one) ?? -1);
      }
      t.is(table.size, known.size);
      for (const [one, number] of known) {
        t.is(table.at(number), one as ReturnType<typeof table.at>);
        t.is(table.find(one), number);
      }
      t.throws(() => table.at(known.size), { instanceOf: RangeError });
    }),
    { numRuns: 20 },
  );
});

test('a column has a number for each row, and none where none was set', (t) => {
  const column = new Column();
  column.set(5000, 7);
  column.add(5000, 1);
  column.add(3, 2);
  t.deepEqual([column.at(5000), column.at(3)], [8, 2]);
  t.false(column.has(4));
  t.false(column.has(1_000_000));
});
