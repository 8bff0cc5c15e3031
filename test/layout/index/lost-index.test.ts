import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { listCaches } from '../../../src/operations/list.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { copyFixture } from '../../support/folders.js';

const tagsOf = async (folder: string) => (await listCaches(folder)).map(({ tag }) => tag);

for (const text of ['', 'null', '{}', ' {"schemaVersion":2}\n']) {
  test(`an index.json that is ${JSON.stringify(text)} where there are manifests was lost: nothing goes by it`, async (t) => {
    const folder = join(temporary(t), 'cache');
    copyFixture('max-gzip', folder);
    const path = join(folder, 'index.json');
    writeFileSync(path, text);
    const writing = () =>
      copyCache({ imports: [importOf('max-zstd')], exports: [`type=local,dest=${folder},tag=new`] });
    for (const use of [() => collectGarbage(folder, { grace: 0 }), writing]) {
      const error = await t.throwsAsync(use, { instanceOf: CacheError });
      t.is(error.code, 'CORRUPT');
      if (text !== '' || use === writing) t.regex(error.hint ?? '', /"bkcache repair .*" finds them again/);
    }
    t.is(readFileSync(path, 'utf8'), text);
    const { sound, findings } = await verifyFolder(folder);
    t.false(sound);
    t.true(findings.some(({ file }) => file === path));
    t.true((await repairFolder(folder)).sound);
    t.deepEqual(await tagsOf(folder), ['latest']);
  });
}

for (const text of ['{"manifests":[]}', '{"manifests":null}', '{"Manifests":[]}']) {
  test(`an index.json that is ${text} lists nothing, and was not lost`, async (t) => {
    const folder = join(temporary(t), 'cache');
    copyFixture('max-gzip', folder);
    writeFileSync(join(folder, 'index.json'), text);
    const { removed, setAside } = await collectGarbage(folder, { grace: 0 });
    t.true(removed.count + setAside.count > 0);
  });
}

test('an index.json that is {} lists nothing where there are no manifests', async (t) => {
  const folder = join(temporary(t), 'cache');
  copyFixture('max-gzip', folder);
  rmSync(join(folder, 'blobs'), { recursive: true });
  writeFileSync(join(folder, 'index.json'), '{}');
  t.deepEqual(await tagsOf(folder), []);
  await copyCache({ imports: [importOf('max-zstd')], exports: [`type=local,dest=${folder}`] });
  t.deepEqual(await tagsOf(folder), ['latest']);
});
