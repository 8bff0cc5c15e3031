import test from 'ava';
import { type FileList, listFiles } from '../../src/delta/file-list.js';
import { chooseSources } from '../../src/delta/write/choose-sources.js';
import { sha256 } from '../../src/oci/digest.js';
import { inChunks } from '../support/deltas.js';
import { noise, tarOf } from '../support/tars.js';

/** The list of a layer with files of 20 kB, by their seeds. */
async function listOf(...seeds: readonly number[]): Promise<FileList> {
  const tar = await tarOf(seeds.map((seed) => ({ name: `${seed}`, bytes: noise(seed, 20_000) })));
  return listFiles(inChunks(tar, 10_000), sha256(tar));
}

test('the layer that shares the most comes first, and then what others add', async (t) => {
  const wanted = await listOf(1, 2, 3, 4, 5, 6);
  const [three, other, two, part] = [await listOf(1, 2, 3), await listOf(8, 9), await listOf(4, 5), await listOf(2, 3)];
  t.deepEqual(chooseSources(wanted, [part, two, other, three]), [three, two]);
  t.deepEqual(chooseSources(wanted, [part, two, other, three], { count: 1 }), [three]);
});

test('tars over the limit are left out', async (t) => {
  const wanted = await listOf(1, 2, 3, 4);
  const [three, two, one] = [await listOf(1, 2, 3), await listOf(3, 4), await listOf(4)];
  t.deepEqual(chooseSources(wanted, [three, two, one], { most: three.size + one.size }), [three, one]);
  t.deepEqual(chooseSources(wanted, [three, two, one], { most: one.size - 1 }), []);
});

test('where most is new, the layer of the nearest size is a source too', async (t) => {
  const wanted = await listOf(1, 2, 3, 4);
  const [large, near, shares] = [await listOf(10, 11, 12, 13, 14, 15, 16), await listOf(10, 11, 12), await listOf(1)];
  t.deepEqual(chooseSources(wanted, [large, near]), [near]);
  t.deepEqual(chooseSources(wanted, [large, near, shares]), [shares, near]);
  t.deepEqual(chooseSources(wanted, []), []);
});

test('of equal layers the first one given is taken', async (t) => {
  const wanted = await listOf(1, 2);
  const [a, b] = [await listOf(1, 2, 3), await listOf(1, 2, 4)];
  t.deepEqual(chooseSources(wanted, [a, b]), [a]);
  t.deepEqual(chooseSources(wanted, [b, a]), [b]);
});
