import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { REF_NAME } from '../../../src/oci/descriptor.js';
import { sha256 } from '../../../src/oci/digest.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { changedFixture } from '../../support/changed-fixture.js';
import { temporary } from '../../support/fixtures.js';
import { put, writeEntries } from '../../support/folders.js';
import { assertSound } from '../../support/sound.js';

test('a config over 1 MiB is refused with the way out, and written when that is wanted', async (t) => {
  const folder = temporary(t);
  // A graph of many keys: what a long-lived cache grows to.
  const records = Array.from({ length: 13_000 }, (_, index) => ({
    digest: `sha256:${index.toString(16).padStart(64, '0')}`,
  }));
  mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
  const putJson = (document: object) => put(folder, JSON.stringify(document));
  const config = { mediaType: 'application/vnd.buildkit.cacheconfig.v0', ...putJson({ records }) };
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = { mediaType, ...putJson({ schemaVersion: 2, mediaType, config, layers: [] }) };
  writeEntries(folder, [{ ...manifest, annotations: { [REF_NAME]: 'latest' } }]);

  const [imports, exports] = [[`type=local,src=${folder}`], [`type=local,dest=${join(temporary(t), 'out')}`]];
  const error = await t.throwsAsync(copyCache({ imports, exports }), { instanceOf: CacheError });
  t.regex(error.message, /BuildKit imports none over 1048576/);
  t.regex(error.hint ?? '', /mode=min.*--allow-oversize/);
  const { exports: done } = await copyCache({ imports, exports, allowOversize: true });
  t.is(done[0]?.records, records.length);
});

for (const options of ['', ',image-manifest=false', ',compression=zstd,force-compression=true']) {
  test(`a cache over 1 MiB is refused before a layer is copied${options}`, async (t) => {
    const folder = changedFixture(t, 'max-gzip', (_manifest, config) => {
      for (let index = 0; index < 13_000; index++) config.records.push({ digest: sha256(`${index}`) });
    });
    const out = temporary(t);
    const copy = { imports: [`type=local,src=${folder}`], exports: [`type=local,dest=${out}${options}`] };
    await t.throwsAsync(copyCache(copy), { instanceOf: CacheError, message: /BuildKit imports none over 1048576/ });
    t.deepEqual(readdirSync(join(out, 'blobs', 'sha256')), []);
    await copyCache({ ...copy, allowOversize: true });
    await assertSound(t, out);
  });
}
