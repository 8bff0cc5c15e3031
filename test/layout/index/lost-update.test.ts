import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { LeasedBlobs } from '../../../src/layout/blobs/leased-blobs.js';
import { updateIndex } from '../../../src/layout/index/index-file.js';
import { encodeIndex, type LayoutIndex, tagOf, withoutTag, withTag } from '../../../src/layout/index/index-json.js';
import { readIndex } from '../../../src/layout/index/index-read.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import type { Layout } from '../../../src/layout/layout.js';
import { LostBlobs } from '../../../src/layout/blobs/lost-blobs.js';
import { contentOf } from '../../../src/oci/content.js';
import { sha256 } from '../../../src/oci/digest.js';
import { temporary } from '../../support/fixtures.js';
import { wrapRenameat2 } from '../../support/renameat2.js';

// What others do between the last look of a bkcache that stands still there and its rename.
let meanwhile: (() => void) | undefined;
wrapRenameat2((renameat2) => (...values) => {
  const act = meanwhile;
  meanwhile = undefined;
  act?.();
  return renameat2(...values);
});

const entry = (name: string) => ({ mediaType: 'x', digest: sha256(name), size: 1 });
const put = (layout: Layout, tag: string, leased?: LeasedBlobs) =>
  updateIndex(layout, (index) => withTag(index, tag, entry(tag)), { leased });
const tagsOf = async (layout: Layout) =>
  (await readIndex(layout)).manifests.map((entry) => tagOf(entry) ?? '').toSorted();

/** Replaces index.json as another bkcache does, under a lock file that took the place of one that a build deleted. */
function replace(root: string, change: (index: LayoutIndex) => LayoutIndex): void {
  rmSync(join(root, 'index.json.lock'));
  const path = join(root, 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8')) as LayoutIndex;
  writeFileSync(`${path}.new`, encodeIndex(change(index)));
  renameSync(`${path}.new`, path);
}

test.serial('a tag that another bkcache adds under a deleted lock file is not lost', async (t) => {
  const layout = await createLayout(temporary(t));
  await put(layout, 'a');
  meanwhile = () => replace(layout.root, (index) => withTag(index, 'theirs', entry('theirs')));
  await put(layout, 'ours');
  t.deepEqual(await tagsOf(layout), ['a', 'ours', 'theirs']);
  await layout[Symbol.asyncDispose]();
  t.false(existsSync(join(layout.root, '.bkcache')));
});

test.serial(
  'a tag that another bkcache drops there does not come back, and one that it replaces is theirs',
  async (t) => {
    const layout = await createLayout(temporary(t));
    for (const tag of ['a', 'b', 'c']) await put(layout, tag);
    meanwhile = () => replace(layout.root, (index) => withTag(withoutTag(index, 'a'), 'b', entry('their b')));
    await put(layout, 'ours');
    t.deepEqual(await tagsOf(layout), ['b', 'c', 'ours']);
    const { manifests } = await readIndex(layout);
    t.is(manifests.find((one) => tagOf(one) === 'b')?.digest, entry('their b').digest);
    await layout[Symbol.asyncDispose]();
  },
);

test.serial('so it is when they make the first index.json, and when several come', async (t) => {
  const layout = await createLayout(temporary(t));
  const path = join(layout.root, 'index.json');
  meanwhile = () => writeFileSync(path, encodeIndex(withTag({ manifests: [] }, 'theirs', entry('theirs'))));
  await put(layout, 'ours');
  t.deepEqual(await tagsOf(layout), ['ours', 'theirs']);
  meanwhile = () => {
    replace(layout.root, (index) => withTag(index, 'b', entry('b')));
    writeFileSync(join(layout.root, 'index.json.lock'), '');
    replace(layout.root, (index) => withTag(index, 'c', entry('c')));
  };
  await put(layout, 'd');
  t.deepEqual(await tagsOf(layout), ['b', 'c', 'd', 'ours', 'theirs']);
  await layout[Symbol.asyncDispose]();
});

test.serial('what a build writes in place into the file that was replaced is merged, and drops nothing', async (t) => {
  const layout = await createLayout(temporary(t));
  for (const tag of ['a', 'b']) await put(layout, tag);
  const path = join(layout.root, 'index.json');
  // It has read the file when there was no more than a in it.
  const build = openSync(path, 'r+');
  t.teardown(() => closeSync(build));
  const stale = withTag(withTag({ manifests: [] }, 'a', entry('a')), 'late', entry('late'));
  meanwhile = () => {
    setImmediate(() => {
      const bytes = encodeIndex(stale);
      writeSync(build, bytes, 0, bytes.length, 0);
      ftruncateSync(build, bytes.length);
    });
  };
  await put(layout, 'ours');
  t.deepEqual(await tagsOf(layout), ['a', 'b', 'late', 'ours']);
  await layout[Symbol.asyncDispose]();
});

test.serial('their tag is not lost either when ours fails since its blobs were deleted', async (t) => {
  const layout = await createLayout(temporary(t));
  await put(layout, 'a');
  const content = contentOf(Buffer.from('x'));
  const leased = new LeasedBlobs(layout);
  const { digest } = await leased.write(content, undefined, { where: 'here', sharing: 'copy' });
  meanwhile = () => {
    replace(layout.root, (index) => withTag(index, 'theirs', entry('theirs')));
    rmSync(layout.blobs.path(digest));
  };
  const error = await t.throwsAsync(put(layout, 'ours', leased), { instanceOf: LostBlobs });
  t.deepEqual([...error.digests], [digest]);
  t.true((await tagsOf(layout)).includes('theirs'));
  await layout[Symbol.asyncDispose]();
});
