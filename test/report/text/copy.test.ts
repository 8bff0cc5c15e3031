import test from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { copyText } from '../../../src/report/text/copy.js';
import { FAULTS, FaultyFolder } from '../../support/faults.js';
import { temporary } from '../../support/fixtures.js';
import { join } from 'node:path';
import { copyFixture } from '../../support/folders.js';

test('media types that a copy has put right are counted', async (t) => {
  const path = join(temporary(t), 'cache');
  copyFixture('max-gzip', path);
  FAULTS.find(({ of, name }) => of === 'cache' && name === 'a media type of layers that is unknown')?.make(
    new FaultyFolder(path),
  );
  const out = join(temporary(t), 'out');
  const result = await copyCache({ imports: [`type=local,src=${path}`], exports: [`type=local,dest=${out}`] });
  t.regex(
    copyText(result),
    /\n {2}6 layers had another media type than that of the bytes, and have the right one now\n/,
  );
});
