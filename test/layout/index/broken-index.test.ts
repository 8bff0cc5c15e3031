import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { brokenIndex, replaceBrokenIndex } from '../../../src/layout/index/broken-index.js';
import { readIndex } from '../../../src/layout/index/index-read.js';
import { encodeIndex, tagOf } from '../../../src/layout/index/index-json.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { REF_NAME } from '../../../src/oci/descriptor.js';
import { sha256 } from '../../../src/oci/digest.js';
import { temporary } from '../../support/fixtures.js';

const indexOf = (...tags: string[]) => ({
  manifests: tags.map((tag) => ({ mediaType: 'x', digest: sha256(tag), size: 1, annotations: { [REF_NAME]: tag } })),
});

async function open(t: ExecutionContext) {
  const layout = await createLayout(temporary(t));
  t.teardown(() => layout[Symbol.asyncDispose]());
  return { layout, path: join(layout.root, 'index.json') };
}

test('an index that can be read is not broken; a missing, empty or cut one is, and is replaced and kept', async (t) => {
  const { layout, path } = await open(t);
  t.deepEqual(await brokenIndex(layout), { bytes: undefined });
  const whole = encodeIndex(indexOf('a'));
  writeFileSync(path, whole);
  t.is(await brokenIndex(layout), undefined);
  for (const bytes of [Buffer.alloc(0), whole.subarray(0, 30)]) {
    writeFileSync(path, bytes);
    const broken = await brokenIndex(layout);
    t.deepEqual(broken, { bytes });
    t.true(await replaceBrokenIndex(layout, broken ?? { bytes: undefined }, indexOf('b')));
    t.deepEqual((await readIndex(layout)).manifests.map(tagOf), ['b']);
    const kept = join(layout.root, 'index.json.before-repair');
    t.true(bytes.equals(readFileSync(kept)));
    rmSync(kept);
  }
});

test('an index that somebody has written since it was looked at stays', async (t) => {
  const { layout, path } = await open(t);
  const whole = encodeIndex(indexOf('a', 'b'));
  for (const bytes of [whole, whole.subarray(0, 40)]) {
    writeFileSync(path, bytes);
    t.false(await replaceBrokenIndex(layout, { bytes: whole.subarray(0, 30) }, indexOf('c')));
    // What could be read was never broken.
    t.false(await replaceBrokenIndex(layout, { bytes: whole }, indexOf('c')));
    t.true(bytes.equals(readFileSync(path)));
  }
  t.false(existsSync(join(layout.root, 'index.json.before-repair')));
});

test('what a build goes on to write into a broken index that was replaced is not lost', async (t) => {
  const { layout, path } = await open(t);
  const whole = encodeIndex(indexOf('a', 'b'));
  const torn = whole.subarray(0, 200);
  writeFileSync(path, torn);
  const build = openSync(path, 'r+');
  t.teardown(() => closeSync(build));
  const replaced = replaceBrokenIndex(layout, { bytes: torn }, indexOf('a'));
  // As soon as the new one is there; half of it first.
  while (readFileSync(path).equals(torn)) await new Promise((resolve) => setImmediate(resolve));
  ftruncateSync(build, 0);
  writeSync(build, whole, 0, 100, 0);
  setTimeout(() => writeSync(build, whole, 100, whole.length - 100, 100), 20);
  t.true(await replaced);
  t.deepEqual((await readIndex(layout)).manifests.map((entry) => tagOf(entry) ?? '').toSorted(), ['a', 'b']);
});
