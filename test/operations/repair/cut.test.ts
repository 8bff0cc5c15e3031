import { join } from 'node:path';
import test from 'ava';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { FAULTS, FaultyFolder } from '../../support/faults.js';
import { temporary } from '../../support/fixtures.js';
import { copyFixture } from '../../support/folders.js';

for (const name of ['a link out of range', 'a result out of range', 'a link to a record random:']) {
  test(`results that go with what is broken are told: ${name}`, async (t) => {
    const path = join(temporary(t), 'cache');
    copyFixture('max-gzip', path);
    FAULTS.find((fault) => fault.of === 'cache' && fault.name === name)?.make(new FaultyFolder(path));
    const { actions } = await repairFolder(path, { dryRun: true });
    const [action] = actions;
    if (action?.type !== 'cut') return t.fail();
    // Of the fixture's 7 records with results.
    t.is(action.resultsBefore, 7);
    t.true(action.results < 7);
  });
}
