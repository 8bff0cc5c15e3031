import test from 'ava';
import { backends } from '../../src/backend/backends.js';
import { CacheError } from '../../src/errors.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { importArguments } from '../../src/operations/import-args.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { listCaches } from '../../src/operations/list.js';
import { resolveCache } from '../../src/operations/resolve.js';
import { verifyCache } from '../../src/operations/verify/verify.js';
import { FIXTURES, importOf, temporary } from '../support/fixtures.js';
import { MemoryBackend } from '../support/memory-backend.js';
import { assertSound } from '../support/sound.js';

// A backend is a folder and a line in the table: this one is in test/, and no file of src/ knows it.
const memory = new MemoryBackend();
backends.set('s3', memory);

const at = (bucket: string, name = 'latest') => `type=s3,bucket=${bucket},region=here,name=${name}`;

test('every cache has the digest in it that it has in a folder, and comes back', async (t) => {
  for (const [folder, tag] of FIXTURES) {
    const name = `${folder}-${tag}`;
    // The strings of this type name no shape, and so its caches have that of BuildKit.
    const exported = [at('caches', name), `type=local,dest=${temporary(t)},image-manifest=true`];
    const { exports } = await copyCache({ imports: [importOf(folder, tag)], exports: exported });
    t.is(exports[0]?.target, 'caches');
    t.is(exports[0]?.descriptor.digest, exports[1]?.descriptor.digest);
    const out = temporary(t);
    await copyCache({ imports: [at('caches', name)], exports: [out] });
    await assertSound(t, out);
    t.is((await resolveCache(out)).digest, (await resolveCache(at('caches', name))).digest);
  }
});

test('its caches are listed, inspected, verified and named to build tools', async (t) => {
  await copyCache({ imports: [importOf('grown', 'main')], exports: [at('seen', 'main')] });
  await copyCache({ imports: [importOf('grown', 'feature')], exports: [at('seen', 'feature')] });
  const rows = await listCaches(at('seen'));
  t.deepEqual(
    rows.map(({ tag, cache }) => [tag, (cache?.records ?? 0) > 0]),
    [
      ['main', true],
      ['feature', true],
    ],
  );
  const { source, layers } = await inspectCache(at('seen', 'main'));
  t.is(source, 'seen');
  t.true(layers.length > 0);
  t.true((await verifyCache(at('seen', 'main'), { deep: true })).sound);
  const words = await importArguments([at('seen', 'main'), at('seen', 'none')], 'buildctl', () => undefined);
  t.deepEqual(words, ['--import-cache', at('seen', 'main')]);
});

test('damage in it is found', async (t) => {
  await copyCache({ imports: [importOf('max-gzip')], exports: [at('damaged')] });
  const [layer] = (await inspectCache(at('damaged'))).layers;
  const { blobs } = memory.buckets.get('damaged') ?? {};
  if (layer !== undefined) blobs?.delete(layer.digest);
  const { sound, findings } = await verifyCache(at('damaged'));
  t.false(sound);
  t.like(findings[0], { severity: 'corrupt', kind: 'missing', digest: layer?.digest });
});

test('two exports to one name are refused before anything is written', async (t) => {
  const exports = [at('collision', 'main'), `${at('collision', 'main')},mode=min`];
  const error = await t.throwsAsync(copyCache({ imports: [importOf('max-gzip')], exports }), {
    instanceOf: CacheError,
  });
  t.like(error, { code: 'USAGE', message: 'two exports go to collision, name main, and one would replace the other' });
  t.false(memory.buckets.has('collision'));
});

test('a missing method is a thing that a type cannot do', async (t) => {
  const only = new MemoryBackend();
  backends.set('azblob', { locate: (options) => only.locate(options) });
  const text = 'type=azblob,account_url=https://x.example.com,account_name=a,container=c';
  const copies = [
    { imports: [text], exports: [temporary(t)] },
    { imports: [importOf('max-gzip')], exports: [text] },
  ];
  for (const copy of copies) {
    const error = await t.throwsAsync(copyCache(copy), { instanceOf: CacheError });
    t.regex(error.message, /^type=azblob is understood, but this version cannot (import|export) it yet$/);
    t.is(error.code, 'USAGE');
  }
  const left: string[] = [];
  t.deepEqual(await importArguments([text], 'buildctl', (_, { message }) => left.push(message)), []);
  t.deepEqual(left, ['type=azblob is understood, but this version cannot import it yet']);
});
