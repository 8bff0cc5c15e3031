import { join } from 'node:path';
import test from 'ava';
import type { Finding } from '../../../src/backend/finding.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { hasResults } from '../../../src/graph/graph.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { FAULTS, FaultyFolder } from '../../support/faults.js';
import type { Fault } from '../../support/faults/fault.js';
import { temporary } from '../../support/fixtures.js';
import { loadFolder } from '../../support/caches.js';
import { copyFixture } from '../../support/folders.js';

for (const { name, of, make, effect, isNote = false, deep = false, repair = [], stays = false } of FAULTS) {
  test(`${of}: ${name}`, async (t) => {
    const path = join(temporary(t), 'cache');
    copyFixture(of === 'cache' ? 'max-gzip' : 'inline-image', path);
    make(new FaultyFolder(path));
    const { findings, sound } = await verifyFolder(path, { deep });
    t.is(sound, isNote);
    // The worst comes first. What is left over without its index is noted behind it.
    t.like(findings[0], { effect, severity: isNote ? 'note' : 'corrupt' });
    for (const finding of findings)
      t.is(finding.repair, commandFor(finding, { deep, repair, stays }, path), finding.message);
    for (const { repair: command, hint } of findings.filter(({ severity }) => severity === 'corrupt'))
      t.true(command !== undefined || hint !== undefined, 'something is said that helps');
    const dry = await repairFolder(path, { deep, dryRun: true });
    const { actions, sound: isMended } = await repairFolder(path, { deep });
    t.deepEqual(dry.actions, actions);
    t.deepEqual([...new Set(actions.map(({ type }) => type))], [...repair]);
    t.is(isMended, !stays);
    if (stays || repair.includes('dropped')) return;
    t.deepEqual((await repairFolder(path, { deep })).actions, []);
    if (repair.includes('cut') || of === 'image') return;
    const { graph } = await loadFolder(path);
    t.is(graph.records.filter(hasResults).length, 7, 'every result is there still');
  });
}

/** The command that does something about a finding, as far as repair does. */
function commandFor(
  { severity, kind }: Finding,
  { deep = false, repair = [], stays = false }: Pick<Fault, 'deep' | 'repair' | 'stays'>,
  folder: string,
): string | undefined {
  if (kind === 'unused') return `bkcache gc ${folder}`;
  if (kind === 'oversize') return `bkcache prune --fit-import-limit ${folder}`;
  if (severity === 'note') return undefined;
  if (kind === 'missing' || kind === 'damaged') return `bkcache repair --from OPTS ${folder}`;
  if (repair.length === 0 || stays) return undefined;
  return `bkcache repair ${deep ? '--deep ' : ''}${folder}`;
}

test('a cache that BuildKit refuses, and repair cannot correct, is not taken for one inside an image', async (t) => {
  const path = join(temporary(t), 'cache');
  copyFixture('max-gzip', path);
  FAULTS.find(({ name }) => name === 'a media type that contradicts')?.make(new FaultyFolder(path));
  const { findings } = await verifyFolder(path);
  t.is(findings[0]?.hint, 'export the cache or the image again');
});

for (const { name, make } of FAULTS.filter(({ of, isNote }) => of === 'cache' && isNote === true)) {
  test(`a copy of what is only noted is sound: ${name}`, async (t) => {
    const path = join(temporary(t), 'cache');
    copyFixture('max-gzip', path);
    make(new FaultyFolder(path));
    const out = join(temporary(t), 'out');
    await copyCache({ imports: [`type=local,src=${path}`], exports: [`type=local,dest=${out}`] });
    const { findings } = await verifyFolder(out);
    t.deepEqual(
      findings.filter(({ wrong }) => wrong === 'size'),
      [],
    );
    t.deepEqual((await verifyFolder(out)).sound, true);
  });
}
