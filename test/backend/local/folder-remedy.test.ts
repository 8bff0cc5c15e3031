import { renameSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { blobPath, folderOf, put } from '../../support/folders.js';

test('a damaged blob that nothing refers to needs no copy from elsewhere', async (t) => {
  const folder = folderOf(t);
  const { digest } = put(folder, 'nothing refers to this');
  truncateSync(blobPath(folder, digest), 5);
  const { findings } = await verifyFolder(folder);
  const damaged = findings.find(({ kind }) => kind === 'damaged');
  t.like(damaged, { digest, tags: [], repair: `bkcache repair ${folder}` });
  t.like(await repairFolder(folder), { actions: { length: 1, 0: { type: 'set-aside', digest } }, sound: true });
});

test('a link in the place of index.json is left to its owner, and verify says so', async (t) => {
  const folder = folderOf(t);
  renameSync(join(folder, 'index.json'), join(folder, 'elsewhere'));
  symlinkSync('elsewhere', join(folder, 'index.json'));
  const { findings } = await verifyFolder(folder);
  t.like(findings[0], { kind: 'layout', repair: undefined, hint: 'replace the link by the file that it leads to' });
  await t.throwsAsync(repairFolder(folder), { message: /is a link/ });
});

test('a layer that was given up for its size may be good: there is nothing to repair', async (t) => {
  const { findings } = await verifyFolder(folderOf(t), { deep: true, maxLayerSize: 100 });
  for (const { repair, hint } of findings)
    t.deepEqual([repair, hint], [undefined, 'verify it with a larger --max-layer-size']);
});
