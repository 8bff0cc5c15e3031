import { closeSync, existsSync, ftruncateSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import test from 'ava';
import { encodeIndex, withTag } from '../../../src/layout/index/index-json.js';
import { readIndex } from '../../../src/layout/index/index-read.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { sha256 } from '../../../src/oci/digest.js';
import { temporary } from '../../support/fixtures.js';
import { entryNamed, putTag, tagsIn } from '../../support/layouts.js';
import { wrapRenameat2 } from '../../support/renameat2.js';

// A filesystem that cannot exchange files, as many network and user-space ones.
wrapRenameat2(() => () => -1);

test.serial(
  'index.json is renamed where files cannot be exchanged, and what a build writes late is merged',
  async (t) => {
    const layout = await createLayout(temporary(t));
    await putTag(layout, 'a');
    const build = openSync(join(layout.root, 'index.json'), 'r+');
    t.teardown(() => closeSync(build));
    const bytes = encodeIndex(withTag(await readIndex(layout), 'late', entryNamed('late')));
    const putting = putTag(layout, 'b');
    const timer = setInterval(() => {
      if (!readFileSync(join(layout.root, 'index.json')).includes(sha256('b'))) return;
      clearInterval(timer);
      writeSync(build, bytes, 0, bytes.length, 0);
      ftruncateSync(build, bytes.length);
    }, 0);
    await putting;
    t.deepEqual((await tagsIn(layout)).toSorted(), ['a', 'b', 'late']);
    await layout[Symbol.asyncDispose]();
    t.false(existsSync(join(layout.root, '.bkcache')));
  },
);

// Filesystems made with libfuse move an open file out of the way before a rename over it, and lose it if that fails.
test.serial('index.json is not open while it is renamed over', async (t) => {
  const layout = await createLayout(temporary(t));
  await putTag(layout, 'a');
  const path = join(layout.root, 'index.json');
  const { renameSync } = fs;
  const open: string[] = [];
  fs.renameSync = (from, to) => {
    if (String(to) === path) {
      const links = readdirSync('/proc/self/fd').map((fd) => {
        try {
          return fs.readlinkSync(`/proc/self/fd/${fd}`);
        } catch {
          return '';
        }
      });
      open.push(...links.filter((link) => link === path));
      throw Object.assign(new Error('EIO'), { code: 'EIO', syscall: 'rename' });
    }
    renameSync(from, to);
  };
  syncBuiltinESMExports();
  try {
    await t.throwsAsync(putTag(layout, 'b'), { message: /EIO/ });
  } finally {
    fs.renameSync = renameSync;
    syncBuiltinESMExports();
  }
  t.deepEqual(open, []);
  t.deepEqual((await tagsIn(layout)).toSorted(), ['a']);
  await layout[Symbol.asyncDispose]();
  t.false(existsSync(join(layout.root, '.bkcache')));
});
