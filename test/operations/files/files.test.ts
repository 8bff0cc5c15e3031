import { execFileSync } from 'node:child_process';
import test from 'ava';
import { collect } from '../../../src/bytes/collect.js';
import type { CacheError } from '../../../src/errors.js';
import { blobsOf } from '../../../src/graph/graph.js';
import { topOf } from '../../../src/oci/document.js';
import { catCache } from '../../../src/operations/files/cat.js';
import { type FilesOptions, listFiles } from '../../../src/operations/files/list-files.js';
import { FIXTURES, importOf, loadFixture } from '../../support/fixtures.js';
import { digestOfBytes, unpack } from '../../support/layers.js';

async function paths(text: string, options: FilesOptions = {}): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for await (const { digest, files } of listFiles(text, options)) {
    const list = (found[digest] = [] as string[]);
    for await (const { path } of files) list.push(path);
  }
  return found;
}

test('every layer of every fixture has the files that tar lists', async (t) => {
  for (const [name, tag] of FIXTURES) {
    const cache = await loadFixture(name, tag);
    const listed = await paths(importOf(name, tag));
    t.is(Object.keys(listed).length, blobsOf(cache.graph).length);
    for (const blob of blobsOf(cache.graph)) {
      const bytes = await collect(cache.blob(blob).open());
      const tar = execFileSync('tar', ['tf', '-'], { input: unpack(bytes, blob.mediaType) }).toString();
      const expected = tar
        .split('\n')
        .flatMap((line) => (/^$|stargz.index/.test(line) ? [] : [line.replace(/\/$/, '')]));
      t.deepEqual(listed[blob.digest], expected, `${name} ${blob.digest}`);
    }
  }
});

test('layers, paths and patterns narrow the list', async (t) => {
  const text = importOf('max-gzip');
  const all = await paths(text);
  const [layer = ''] = Object.keys(all);
  const short = layer.slice('sha256:'.length, 'sha256:'.length + 12);
  t.deepEqual(Object.keys(await paths(text, { layers: [short] })), [layer]);
  const flat = async (options: FilesOptions) => new Set(Object.values(await paths(text, options)).flat());
  t.deepEqual(await flat({ paths: ['./static/'] }), new Set(['static', 'static/logo.txt']));
  t.deepEqual(
    await flat({ find: '/app/*.txt' }),
    new Set(['app/src/module1.txt', 'app/src/module2.txt', 'app/src/module3.txt']),
  );
  t.deepEqual(await flat({ find: '*.txt', paths: ['app/src', 'deps'] }), await flat({ find: '[ad]*/*.txt' }));
  t.deepEqual(await flat({ find: 'logo.*' }), new Set(['static/logo.txt', 'deps/logo.txt']));
  t.is((await t.throwsAsync<CacheError>(flat({ layers: ['0123456789ab'] }))).code, 'NOT_FOUND');
  t.is((await t.throwsAsync<CacheError>(flat({ paths: ['/'] }))).code, 'USAGE');
});

test('cat gives manifest, config and layers as they are stored', async (t) => {
  const text = importOf('max-zstd');
  const { saved, graph } = await loadFixture('max-zstd');
  if (saved === undefined) return t.fail();
  for (const { digest } of [...saved.documents.map(({ descriptor }) => descriptor), ...blobsOf(graph)]) {
    t.is(digestOfBytes(await collect(catCache(text, digest))), digest);
    t.is(digestOfBytes(await collect(catCache(text, digest.slice('sha256:'.length, 20)))), digest);
  }
  t.deepEqual(await collect(catCache(text, topOf(saved.documents).descriptor.digest)), topOf(saved.documents).bytes);
});

test('cat gives a file that one layer has, and asks for the layer where several have it', async (t) => {
  for (const name of ['max-gzip', 'max-estargz']) {
    const text = importOf(name);
    t.is((await collect(catCache(text, '/static/logo.txt'))).length, 30_000);
    const several = await t.throwsAsync<CacheError>(collect(catCache(text, 'app/package.json')));
    t.is(several.code, 'USAGE');
    const [, layer] = /package\.json: ([0-9a-f]{12})/.exec(several.message) ?? [];
    t.is((await collect(catCache(text, 'app/package.json', { layer }))).length, 48);
    t.is((await t.throwsAsync<CacheError>(collect(catCache(text, 'nope')))).code, 'NOT_FOUND');
    t.regex(
      (await t.throwsAsync<CacheError>(collect(catCache(text, 'static')))).message,
      /is no file: it is a directory/,
    );
  }
});
