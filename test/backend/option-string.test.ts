import test from 'ava';
import { collectGarbage, prune, repairFolder, verifyFolder } from '../../src/index.js';
import { contentsOf, folderOf } from '../support/folders.js';

const OF_ALL_CACHES = {
  gc: (text: string) => collectGarbage(text, { grace: 0 }),
  prune: (text: string) => prune(text, { maxSize: 1, grace: 0 }),
  repair: (text: string) => repairFolder(text),
  verify: (text: string) => verifyFolder(text),
};

for (const [name, run] of Object.entries(OF_ALL_CACHES)) {
  for (const field of ['tag', 'digest']) {
    test(`${name} of all caches refuses ${field}=, which selects one, and changes nothing`, async (t) => {
      const folder = folderOf(t, 'grown');
      const before = contentsOf(folder);
      await t.throwsAsync(run(`type=local,src=${folder},${field}=main`), { code: 'USAGE' });
      t.deepEqual(contentsOf(folder), before);
      await t.notThrowsAsync(run(`type=local,src=${folder}`));
    });
  }
}
