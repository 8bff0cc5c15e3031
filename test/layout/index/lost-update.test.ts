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
import { encodeIndex, type LayoutIndex, tagOf, withoutTag, withTag } from '../../../src/layout/index/index-json.js';
import { readIndex } from '../../../src/layout/index/index-read.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { LostBlobs } from '../../../src/layout/blobs/lost-blobs.js';
import { contentOf } from '../../../src/oci/content.js';
import { temporary } from '../../support/fixtures.js';
import { entryNamed, putTag, tagsIn } from '../../support/layouts.js';
import { wrapRenameat2 } from '../../support/renameat2.js';

// What others do between the last look of a bkcache that stands still there and its rename.
let meanwhile: (() => void) | undefined;
wrapRenameat2((renameat2) => (...values) => {
  const act = meanwhile;
  meanwhile = undefined;
  act?.();
  return renameat2(...values);
});

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
  await putTag(layout, 'a');
  meanwhile = () => replace(layout.root, (index) => withTag(index, 'theirs', entryNamed('theirs')));
  await putTag(layout, 'ours');
  t.deepEqual((await tagsIn(layout)).toSorted(), ['a', 'ours', 'theirs']);
  await layout[Symbol.asyncDispose]();
  t.false(existsSync(join(layout.root, '.bkcache')));
});

test.serial(
  'a tag that another bkcache drops there does not come back, and one that it replaces is theirs',
  async (t) => {
    const layout = await createLayout(temporary(t));
    for (const tag of ['a', 'b', 'c']) await putTag(layout, tag);
    meanwhile = () => replace(layout.root, (index) => withTag(withoutTag(index, 'a'), 'b', entryNamed('their b')));
    await putTag(layout, 'ours');
    t.deepEqual((await tagsIn(layout)).toSorted(), ['b', 'c', 'ours']);
    const { manifests } = await readIndex(layout);
    t.is(manifests.find((one) => tagOf(one) === 'b')?.digest, entryNamed('their b').digest);
    await layout[Symbol.asyncDispose]();
  },
);

test.serial('so it is when they make the first index.json, and when several come', async (t) => {
  const layout = await createLayout(temporary(t));
  const path = join(layout.root, 'index.json');
  meanwhile = () => writeFileSync(path, encodeIndex(withTag({ manifests: [] }, 'theirs', entryNamed('theirs'))));
  await putTag(layout, 'ours');
  t.deepEqual((await tagsIn(layout)).toSorted(), ['ours', 'theirs']);
  meanwhile = () => {
    replace(layout.root, (index) => withTag(index, 'b', entryNamed('b')));
    writeFileSync(join(layout.root, 'index.json.lock'), '');
    replace(layout.root, (index) => withTag(index, 'c', entryNamed('c')));
  };
  await putTag(layout, 'd');
  t.deepEqual((await tagsIn(layout)).toSorted(), ['b', 'c', 'd', 'ours', 'theirs']);
  await layout[Symbol.asyncDispose]();
});

test.serial('what a build writes in place into the file that was replaced is merged, and drops nothing', async (t) => {
  const layout = await createLayout(temporary(t));
  for (const tag of ['a', 'b']) await putTag(layout, tag);
  const path = join(layout.root, 'index.json');
  // It has read the file when there was no more than a in it.
  const build = openSync(path, 'r+');
  t.teardown(() => closeSync(build));
  const stale = withTag(withTag({ manifests: [] }, 'a', entryNamed('a')), 'late', entryNamed('late'));
  meanwhile = () => {
    setImmediate(() => {
      const bytes = encodeIndex(stale);
      writeSync(build, bytes, 0, bytes.length, 0);
      ftruncateSync(build, bytes.length);
    });
  };
  await putTag(layout, 'ours');
  t.deepEqual((await tagsIn(layout)).toSorted(), ['a', 'b', 'late', 'ours']);
  await layout[Symbol.asyncDispose]();
});

test.serial('their tag is not lost either when ours fails since its blobs were deleted', async (t) => {
  const layout = await createLayout(temporary(t));
  await putTag(layout, 'a');
  const content = contentOf(Buffer.from('x'));
  const leased = new LeasedBlobs(layout);
  const { digest } = await leased.write(content, undefined, { where: 'here', sharing: 'copy' });
  meanwhile = () => {
    replace(layout.root, (index) => withTag(index, 'theirs', entryNamed('theirs')));
    rmSync(layout.blobs.path(digest));
  };
  const error = await t.throwsAsync(putTag(layout, 'ours', leased), { instanceOf: LostBlobs });
  t.deepEqual([...error.digests], [digest]);
  t.true((await tagsIn(layout)).includes('theirs'));
  await layout[Symbol.asyncDispose]();
});
