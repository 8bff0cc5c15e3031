import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { digestOfCache } from '../support/caches.js';
import { bkcache } from '../support/command.js';
import { importOf, loadFixture, temporary } from '../support/fixtures.js';

test('a cache goes into the store and out again with the same digest, and can be removed', async (t) => {
  const folder = temporary(t);
  const store = { BKCACHE_STORE: join(folder, 'store') };
  t.is((await bkcache(['import', 'one', '--import-cache', importOf('grown', 'main')], store)).code, 0);
  t.is((await bkcache(['import', 'two', '--import-cache', importOf('grown', 'feature')], store)).code, 0);
  t.is((await bkcache(['import', 'two', '--import-cache', importOf('grown', 'feature')], store)).code, 0);
  const listed = JSON.parse((await bkcache(['list', '--json'], store)).stdout) as { tag: string }[];
  t.deepEqual(
    listed.map(({ tag }) => tag),
    ['one', 'two'],
  );
  t.true(
    readFileSync(join(folder, 'store', 'CACHEDIR.TAG'), 'utf8').startsWith(
      'Signature: 8a477f597d28d172789f06886806bc55',
    ),
  );
  t.is((await bkcache(['export', 'one', '--export-cache', join(folder, 'out')], store)).code, 0);
  const resolved = JSON.parse((await bkcache(['resolve', join(folder, 'out')])).stdout) as { digest: string };
  t.is(digestOfCache(await loadFixture('grown', 'main')) as string, resolved.digest);
  t.is((await bkcache(['remove', 'one'], store)).code, 0);
  const gone = await bkcache(['export', 'one', '--export-cache', join(folder, 'again')], store);
  t.is(gone.code, 3);
  t.regex(gone.stderr, /its tags are: two/);
});

test('a first import that fails makes no store, and a store that is not there has words of its own', async (t) => {
  const folder = temporary(t);
  const store = join(folder, 'store');
  const run = (...args: string[]) => bkcache([...args, '--store', store]);
  t.is((await run('import', 'x', '--import-cache', 'type=bogus,src=y')).code, 2);
  t.is((await run('import', 'x', '--import-cache', join(folder, 'missing'))).code, 3);
  t.deepEqual(readdirSync(folder), []);
  const verbs = [['list'], ['gc'], ['verify'], ['repair'], ['prune', '--max-age', '1d'], ['remove', 'x']];
  for (const args of [...verbs, ['export', 'x', '--export-cache', join(folder, 'out')]]) {
    const { code, stderr } = await run(...args);
    t.is(code, 3);
    t.regex(
      stderr,
      /there is no store in .*\n  hint: "bkcache import NAME --import-cache …" makes one/,
      args.join(' '),
    );
  }
  t.deepEqual(readdirSync(folder), []);
  // As a first import leaves it that was killed.
  mkdirSync(join(store, 'blobs', 'sha256'), { recursive: true });
  writeFileSync(join(store, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  for (const args of verbs.slice(0, -1)) t.is((await run(...args)).code, 0, args.join(' '));
  t.is((await run('remove', 'x')).code, 3);
  t.is((await run('import', 'x', '--import-cache', importOf('max-gzip'))).code, 0);
  const { manifests } = JSON.parse(readFileSync(join(store, 'index.json'), 'utf8')) as {
    manifests: { annotations: Record<string, string> }[];
  };
  t.truthy(manifests[0]?.annotations['dev.bkcache.last-used']);
});
