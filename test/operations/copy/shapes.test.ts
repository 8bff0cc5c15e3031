import test from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { assertSound } from '../../support/sound.js';

for (const [source, options, shape] of [
  ['max-gzip-docker-list', '', 'docker-list'],
  ['max-gzip-docker-list', ',image-manifest=false', 'docker-list'],
  ['max-gzip-docker-list', ',image-manifest=true', 'image-manifest'],
  ['max-gzip-docker-list', ',oci-mediatypes=true', 'index'],
  ['max-gzip-index', '', 'index'],
  ['max-gzip-index', ',oci-mediatypes=true', 'index'],
  ['max-gzip-index', ',oci-mediatypes=false', 'docker-list'],
  ['max-gzip-index', ',image-manifest=true', 'image-manifest'],
  ['max-gzip', '', 'image-manifest'],
  ['max-gzip', ',image-manifest=false', 'index'],
  ['max-gzip', ',oci-mediatypes=true', 'image-manifest'],
  ['max-gzip', ',oci-mediatypes=false', 'docker-list'],
] as const) {
  test(`${source}${options} comes out as ${shape}`, async (t) => {
    const out = temporary(t);
    const { exports } = await copyCache({ imports: [importOf(source)], exports: [`type=local,dest=${out}${options}`] });
    t.is(exports[0]?.shape, shape);
    await assertSound(t, out);
  });
}

test('several sources come out in the shape that BuildKit writes by default', async (t) => {
  const imports = [importOf('max-gzip-index'), importOf('max-gzip-docker-list')];
  const { exports } = await copyCache({ imports, exports: [`type=local,dest=${temporary(t)}`] });
  t.is(exports[0]?.shape, 'image-manifest');
});
