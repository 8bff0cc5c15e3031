import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Bundle } from '../../../src/backend/bundle/bundle.js';
import { CacheError } from '../../../src/errors.js';
import { exportCache, importCache, verifyFolder } from '../../../src/index.js';
import { listLayers } from '../../../src/operations/bundle/have.js';
import { packCaches, type PackOptions } from '../../../src/operations/bundle/pack.js';
import { unpackCaches } from '../../../src/operations/bundle/unpack.js';
import { copyOne, digestOfCache, loadFolder } from '../../support/caches.js';
import { bkcache, MAIN } from '../../support/command.js';
import { fixture, FIXTURES, importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { contentsOf, tagsOf } from '../../support/folders.js';
import { assertSound } from '../../support/sound.js';
import { exec } from 'node:child_process';
import { promisify } from 'node:util';

async function packed(t: ExecutionContext, imports: readonly string[], options: Partial<PackOptions> = {}) {
  const output = join(temporary(t), 'caches.tar');
  return { output, ...(await packCaches({ imports, output, ...options })) };
}

async function haveOf(t: ExecutionContext, place: string): Promise<string> {
  const path = join(temporary(t), 'have');
  writeFileSync(path, (await listLayers([place])).bytes);
  return path;
}

const into = (folder: string) => [`type=local,dest=${folder}`];

for (const [folder, tag] of FIXTURES) {
  test(`${folder}, ${tag}: packed and unpacked, it is the same cache`, async (t) => {
    const { output, entries } = await packed(t, [importOf(folder, tag)]);
    const { saved } = await loadFixture(folder, tag);
    t.deepEqual(
      entries.map((entry) => [entry.tag, entry.digest]),
      [[tag, digestOfCache({ saved })]],
    );
    const out = temporary(t);
    await unpackCaches({ bundle: [output], exports: into(out) });
    t.is(digestOfCache(await loadFolder(out, tag)), digestOfCache({ saved }));
    await assertSound(t, out, tag);
  });
}

test('a folder travels with all its caches and their tags, and the same folder is the same bytes', async (t) => {
  const { output, entries } = await packed(t, [fixture('grown')]);
  t.deepEqual(
    entries.map(({ tag }) => tag),
    ['main', 'feature'],
  );
  t.true(readFileSync(output).equals(readFileSync((await packed(t, [fixture('grown')])).output)));
  const out = temporary(t);
  await unpackCaches({ bundle: [output], exports: into(out) });
  t.deepEqual(tagsOf(out), ['main', 'feature']);
  t.is((await verifyFolder(out)).findings.length, 0);
});

test('images travel with caches, to the byte, for all their platforms', async (t) => {
  const { output, entries } = await packed(t, [fixture('inline-multiplatform'), fixture('max-gzip')]);
  t.deepEqual(
    entries.map(({ kind }) => kind),
    ['image', 'cache'],
  );
  const out = temporary(t);
  await unpackCaches({ bundle: [output], exports: into(out) });
  const [there, here] = [contentsOf(fixture('inline-multiplatform')), contentsOf(out)];
  for (const [path, bytes] of Object.entries(there)) if (path.startsWith('blobs/')) t.is(here[path], bytes, path);
  t.is((await verifyFolder(out)).findings.length, 0);
  const renamed = temporary(t);
  const image = await packed(t, [fixture('inline-image')]);
  await unpackCaches({ bundle: [image.output], exports: into(renamed), into: 'base' });
  t.deepEqual(tagsOf(renamed), ['base']);
});

test('a thin bundle leaves out what the receiver has, and comes out as the same cache', async (t) => {
  const receiver = temporary(t);
  await copyOne(importOf('grown', 'main'), `type=local,dest=${receiver},tag=main`);
  const whole = await packed(t, [importOf('grown', 'feature')]);
  const thin = await packed(t, [importOf('grown', 'feature')], { have: [await haveOf(t, receiver)] });
  t.true(thin.size < whole.size);
  t.is(thin.required.length, 4);
  await unpackCaches({ bundle: [thin.output], exports: into(receiver) });
  t.is(digestOfCache(await loadFolder(receiver, 'feature')), digestOfCache(await loadFixture('grown', 'feature')));
  await assertSound(t, receiver, 'feature');
});

test('a thin bundle is refused, before anything is published, where its layers are missing', async (t) => {
  const receiver = temporary(t);
  await copyOne(importOf('grown', 'main'), `type=local,dest=${receiver},tag=main`);
  const thin = await packed(t, [fixture('grown')], { have: [await haveOf(t, receiver)] });
  const other = join(temporary(t), 'new');
  const unpacking = unpackCaches({ bundle: [thin.output], exports: into(other) });
  const error = await t.throwsAsync(unpacking, { instanceOf: CacheError });
  t.is(error.code, 'NOT_FOUND');
  t.regex(error.message, /leaves out 6 layers .*sha256:/);
  t.false(existsSync(other));
  const some = temporary(t);
  await copyOne(importOf('grown', 'feature'), `type=local,dest=${some}`);
  const partly = await t.throwsAsync(unpackCaches({ bundle: [thin.output], exports: into(some) }), {
    instanceOf: CacheError,
  });
  t.regex(partly.hint ?? '', /bkcache have .* -o FILE/);
  t.deepEqual(tagsOf(some), ['latest']);
  const copying = copyOne(`type=bundle,src=${thin.output},tag=main`, temporary(t));
  t.regex((await t.throwsAsync(copying)).message, /is a thin bundle, which leaves out blob/);
});

test('a layer that the receiver has in another compression does not travel, and is used as it is there', async (t) => {
  const receiver = temporary(t);
  await copyOne(importOf('max-gzip'), `type=local,dest=${receiver},tag=old,compression=zstd,force-compression=true`);
  const before = readdirSync(join(receiver, 'blobs', 'sha256')).length;
  const thin = await packed(t, [importOf('max-gzip')], { have: [await haveOf(t, receiver)] });
  t.is(thin.required.length, 6);
  const { reused } = await unpackCaches({ bundle: [thin.output], exports: into(receiver), into: 'new' });
  t.is(reused, 6);
  await assertSound(t, receiver, 'new');
  t.is(digestOfCache(await loadFolder(receiver, 'new')), digestOfCache(await loadFolder(receiver, 'old')));
  t.is(readdirSync(join(receiver, 'blobs', 'sha256')).length, before);
});

test('a layer that the receiver has is not converted for it', async (t) => {
  const receiver = temporary(t);
  await copyOne(importOf('max-gzip'), `type=local,dest=${receiver}`);
  const encoding = { compression: 'zstd', forceCompression: true } as const;
  const thin = await packed(t, [importOf('max-gzip')], { have: [await haveOf(t, receiver)], ...encoding });
  t.is(thin.required.length, 6);
  await unpackCaches({ bundle: [thin.output], exports: into(receiver), into: 'new' });
  t.is(digestOfCache(await loadFolder(receiver, 'new')), digestOfCache(await loadFixture('max-gzip')));
});

test('of several receivers, only what all of them have stays out', async (t) => {
  const [one, two] = [temporary(t), temporary(t)];
  await copyOne(importOf('grown', 'main'), one);
  await copyOne(importOf('grown', 'feature'), two);
  const have = [await haveOf(t, one), await haveOf(t, two)];
  const thin = await packed(t, [fixture('grown')], { have });
  t.is(thin.required.length, 4);
  for (const receiver of [one, two]) {
    await unpackCaches({ bundle: [thin.output], exports: into(receiver) });
    await assertSound(t, receiver, 'main');
    await assertSound(t, receiver, 'feature');
  }
});

test('layers that are listed and damaged or gone at the receiver are missing', async (t) => {
  const receiver = temporary(t);
  await copyOne(importOf('max-gzip'), receiver);
  const all = await listLayers([receiver]);
  const [, blob = ''] = all.blobs[0]?.split(':') ?? [];
  const path = join(receiver, 'blobs', 'sha256', blob);
  const bytes = readFileSync(path);
  await bkcache(['verify', receiver]);
  const have = await haveOf(t, receiver);
  rmSync(path);
  t.is((await listLayers([receiver])).blobs.length, all.blobs.length - 1);
  const thin = await packed(t, [importOf('max-gzip')], { have: [have] });
  const gone = unpackCaches({ bundle: [thin.output], exports: into(receiver), into: 'new' });
  t.is((await t.throwsAsync(gone, { instanceOf: CacheError })).code, 'NOT_FOUND');
  writeFileSync(path, bytes);
  await t.notThrowsAsync(unpackCaches({ bundle: [thin.output], exports: into(receiver), into: 'new' }));
});

test('nothing of a bundle is published when one of its caches is damaged', async (t) => {
  const { output } = await packed(t, [fixture('grown'), fixture('max-zstd')]);
  const bytes = readFileSync(output);
  const at = bytes.length - 1024 - 500;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(output, bytes);
  const out = temporary(t);
  const error = await t.throwsAsync(unpackCaches({ bundle: [output], exports: into(out) }), { instanceOf: CacheError });
  t.is(error.code, 'CORRUPT');
  t.regex(error.message, /caches\.tar, byte \d+/);
  t.false(existsSync(join(out, 'index.json')));
  // And a sound bundle goes on from there.
  const sound = await packed(t, [fixture('grown'), fixture('max-zstd')]);
  await unpackCaches({ bundle: [sound.output], exports: into(out) });
  t.is((await verifyFolder(out)).findings.length, 0);
});

test('tags that cannot be are refused with a way out', async (t) => {
  const twice = await t.throwsAsync(packed(t, [fixture('max-gzip'), fixture('max-zstd')]), { instanceOf: CacheError });
  t.regex(twice.message, /the tag "latest"/);
  const { output } = await packed(t, [fixture('grown')]);
  for (const options of [{ into: 'one' }, { exports: [`type=local,dest=${temporary(t)},tag=one`] }]) {
    const exports = into(temporary(t));
    const error = await t.throwsAsync(unpackCaches({ bundle: [output], exports, ...options }), {
      instanceOf: CacheError,
    });
    t.is(error.code, 'USAGE');
    t.regex(error.message, /main, feature/);
  }
  const nested = unpackCaches({ bundle: [output], exports: [`type=bundle,dest=${join(temporary(t), 'x.tar')}`] });
  t.is((await t.throwsAsync(nested, { instanceOf: CacheError })).code, 'USAGE');
});

test('without an export, a bundle goes into the store, where its caches are exported by their names', async (t) => {
  const { output } = await packed(t, [fixture('grown')]);
  const store = join(temporary(t), 'store');
  await unpackCaches({ bundle: [output], store });
  t.true(existsSync(join(store, 'CACHEDIR.TAG')));
  const out = temporary(t);
  await exportCache(store, 'feature', into(out));
  await importCache(store, 'another', [importOf('max-zstd')]);
  t.is((await packed(t, [store])).entries.length, 3);
});

test('an unpack converts as an export does', async (t) => {
  const { output } = await packed(t, [fixture('grown')]);
  const out = temporary(t);
  await unpackCaches({ bundle: [output], exports: [`type=local,dest=${out},compression=zstd,force-compression=true`] });
  const { descriptor } = await copyOne(
    importOf('grown', 'main'),
    `type=local,dest=${temporary(t)},compression=zstd,force-compression=true`,
  );
  t.is(digestOfCache(await loadFolder(out, 'main')), descriptor.digest);
  await assertSound(t, out, 'main');
});

test('the bundle of a pack is one that type=bundle reads', async (t) => {
  const { output, size } = await packed(t, [fixture('grown')], { mode: 'min' });
  t.is(readFileSync(output).length, size);
  await using bundle = await Bundle.open([output], output);
  t.is(bundle.index.manifests.length, 2);
});

test('through pipes: the bundle on stdout is the one in a file, and a reader that goes away is an error', async (t) => {
  const run = promisify(exec);
  const { output } = await packed(t, [fixture('grown')]);
  const piped = join(temporary(t), 'piped.tar');
  const { stderr } = await run(`"${process.execPath}" "${MAIN}" pack "${fixture('grown')}" | cat > "${piped}"`);
  t.true(readFileSync(output).equals(readFileSync(piped)));
  t.regex(stderr, /stdout: .*\n {2}main: cache sha256:/);
  const broken = `set -o pipefail; "${process.execPath}" "${MAIN}" pack --quiet "${fixture('grown')}" -o - | head -c 10`;
  const error = await t.throwsAsync<Error & { code: number; stderr: string }>(run(broken, { shell: '/bin/bash' }));
  t.is(error.code, 1);
  t.regex(error.stderr, /the reader of the bundle went away/);
});
