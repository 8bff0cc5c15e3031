import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { digestOfCache } from '../support/caches.js';
import { bkcache } from '../support/command.js';
import { importOf, loadFixture } from '../support/fixtures.js';
import { damaged } from '../support/folders.js';

test('resolving: digest before tag, also one that index.json does not list', async (t) => {
  const { saved } = await loadFixture('grown', 'main');
  const digest = digestOfCache({ saved }) ?? '';
  const folder = damaged(
    t,
    (at) => writeFileSync(join(at, 'index.json'), '{"schemaVersion":2,"manifests":[]}'),
    'grown',
  );
  const { code, stdout } = await bkcache(['resolve', `type=local,src=${folder},tag=none,digest=${digest}`]);
  t.is(code, 0);
  t.is((JSON.parse(stdout) as { digest: string }).digest, digest);
  const missing = await bkcache(['resolve', importOf('grown', 'nope')]);
  t.is(missing.code, 3);
  t.regex(missing.stderr, /its tags are: main, feature/);
});

test('the digest of a layer is that of no manifest', async (t) => {
  const [layer] = (await loadFixture('max-gzip')).graph.descriptors.keys();
  const { code, stderr } = await bkcache(['resolve', `${importOf('max-gzip')},digest=${layer}`]);
  t.is(code, 3);
  t.regex(stderr, /it is no manifest/);
  t.notRegex(stderr, /cut short/);
});
