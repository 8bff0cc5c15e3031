import { rmSync } from 'node:fs';
import test from 'ava';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { fixture } from '../../support/fixtures.js';
import { loadFolder } from '../../support/caches.js';
import { blobPath } from '../../support/folders.js';
import { changedFixture } from '../../support/changed-fixture.js';

test('a foreign layer of a cache that is missing is missed like any other, fetched where it is, and cut where it is not', async (t) => {
  let foreign = '';
  const folder = changedFixture(t, 'max-gzip', ({ layers }, _config, at) => {
    foreign = layers.at(-1)?.digest ?? '';
    for (const layer of layers.filter(({ digest }) => digest === foreign))
      layer.mediaType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
    rmSync(blobPath(at, foreign));
  });
  const { sound, findings } = await verifyFolder(folder);
  t.false(sound);
  t.like(findings[0], { severity: 'corrupt', kind: 'missing', effect: 'build-fails', digest: foreign });

  const fetched = await repairFolder(folder, { from: [fixture('max-gzip')] });
  t.true(fetched.sound);
  t.like(fetched.actions, [{ type: 'fetched', digest: foreign }]);

  rmSync(blobPath(folder, foreign));
  const cut = await repairFolder(folder);
  t.true(cut.sound);
  t.like(cut.actions, [{ type: 'cut' }]);
  const { graph } = await loadFolder(folder);
  t.false([...graph.descriptors.keys()].some((digest) => digest === foreign));
});
