import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { listCaches } from '../../../src/operations/list.js';
import { resolveCache } from '../../../src/operations/resolve.js';
import { fixture, importOf, temporary } from '../../support/fixtures.js';
import { assertSound } from '../../support/sound.js';
import { copyFixture } from '../../support/folders.js';

interface Entry {
  digest: string;
  mediaType?: string;
  size: number;
  annotations?: Record<string, string>;
}

const REF = 'org.opencontainers.image.ref.name';
const IMAGE = 'io.containerd.image.name';

/** A copy of a fixture whose folder and index.json can be changed. */
function changed(t: ExecutionContext, name: string, change: (index: { manifests: Entry[] }, folder: string) => object) {
  const folder = join(temporary(t), 'cache');
  copyFixture(name, folder);
  const path = join(folder, 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8')) as { manifests: Entry[] };
  writeFileSync(path, JSON.stringify(change(index, folder)));
  return folder;
}

const digestOf = async (folder: string, select = '') =>
  (await resolveCache(`type=local,src=${folder}${select}`)).digest;

/** The two manifests of a folder, as entries without a name. */
function twoOf({ manifests }: { manifests: Entry[] }): [Entry, Entry] {
  const [first, second] = manifests.map(({ annotations: _annotations, ...entry }) => entry);
  if (first === undefined || second === undefined) throw new Error('the fixture has lost a tag');
  return [first, second];
}

test('a folder of an old release, with things in it that are not of a layout, is read and kept', async (t) => {
  const folder = changed(t, 'grown', (index, at) => {
    rmSync(join(at, 'oci-layout'));
    mkdirSync(join(at, 'ingest'));
    writeFileSync(join(at, 'NOTES'), 'mine');
    const stranger = {
      mediaType: 'application/x.unknown',
      digest: `sha512:${'a'.repeat(128)}`,
      size: 7,
      platform: { os: 'z' },
    };
    return {
      schemaVersion: 2,
      manifests: [stranger, ...index.manifests.map(({ mediaType: _mediaType, ...entry }) => entry)],
      'x-field': [1],
    };
  });
  const out = temporary(t);
  await copyCache({
    imports: [`type=local,src=${folder},tag=main`],
    exports: [`type=local,dest=${folder},tag=new`, `type=local,dest=${out}`],
  });
  await assertSound(t, out);
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: Entry[] };
  t.deepEqual(
    index.manifests.map(({ annotations }) => annotations?.[REF]),
    [undefined, 'main', 'feature', 'new'],
  );
  t.like(index, {
    'x-field': [1],
    manifests: { 0: { mediaType: 'application/x.unknown', size: 7, platform: { os: 'z' } } },
  });
  t.is(readFileSync(join(folder, 'NOTES'), 'utf8'), 'mine');
});

test('an image name comes before a reference name, and the first match before a later one', async (t) => {
  const digests: string[] = [];
  const folder = changed(t, 'grown', (index) => {
    const [first, second] = twoOf(index);
    digests.push(first.digest, second.digest);
    return {
      manifests: [
        { ...first, annotations: { [REF]: 'both' } },
        { ...second, annotations: { [IMAGE]: 'both', [REF]: 'tag' } },
        { ...second, annotations: { [REF]: 'twice' } },
        { ...first, annotations: { [REF]: 'twice' } },
      ],
    };
  });
  t.is(await digestOf(folder, ',tag=both'), digests[1] as never);
  t.is(await digestOf(folder, ',tag=twice'), digests[1] as never);
  t.is(await digestOf(folder, `,tag=both,digest=${digests[0]}`), digests[0] as never);
});

test('an entry with two names is listed under both, and both are told to who asks for another', async (t) => {
  const error = await t.throwsAsync(resolveCache(`type=local,src=${fixture('inline-image')},tag=nope`), {
    instanceOf: CacheError,
  });
  t.is(error.hint, 'its tags are: example.com/team/tiny:inline, inline');
  const names = (await listCaches(fixture('inline-image'))).map(({ tag }) => tag);
  t.deepEqual(names, ['example.com/team/tiny:inline', 'inline']);
  // What another entry is found by is that one's name.
  const folder = changed(t, 'grown', (index) => {
    const [first, second] = twoOf(index);
    return {
      manifests: [
        { ...first, annotations: { [REF]: 'main' } },
        { ...second, annotations: { [IMAGE]: 'example.com/a:main', [REF]: 'main' } },
      ],
    };
  });
  const rows = await listCaches(folder);
  t.deepEqual(
    rows.map(({ tag }) => tag),
    ['main', 'example.com/a:main'],
  );
});

test('a tag is written as BuildKit writes it: an entry with an image name beside it is another', async (t) => {
  const folder = changed(t, 'grown', (index) => {
    const [first, second] = twoOf(index);
    return {
      manifests: [
        { ...first, annotations: { [REF]: 'main', [IMAGE]: 'example.com/a:main' } },
        { ...first, annotations: { [REF]: 'main' } },
        { ...second, annotations: { [REF]: 'feature' } },
        { ...second, annotations: { [REF]: 'main' } },
      ],
    };
  });
  await copyCache({
    imports: [`type=local,src=${folder},tag=feature`],
    exports: [`type=local,dest=${folder},tag=main`],
  });
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: Entry[] };
  t.deepEqual(
    index.manifests.map(({ annotations }) => annotations?.[IMAGE] ?? annotations?.[REF]),
    ['example.com/a:main', 'feature', 'main'],
  );
});

test('two tags of one digest are two rows, and one can be replaced without the other', async (t) => {
  const folder = temporary(t);
  for (const tag of ['one', 'two']) {
    await copyCache({ imports: [importOf('max-gzip')], exports: [`type=local,dest=${folder},tag=${tag}`] });
  }
  await copyCache({ imports: [importOf('max-zstd')], exports: [`type=local,dest=${folder},tag=two`] });
  const rows = await listCaches(folder);
  t.deepEqual(
    rows.map(({ tag }) => tag),
    ['one', 'two'],
  );
  t.is(rows[0]?.digest, await digestOf(fixture('max-gzip')));
  t.is(rows[1]?.digest, await digestOf(fixture('max-zstd')));
});

test('a folder is made with those above it, and where that cannot be the reason is told', async (t) => {
  const folder = temporary(t);
  const copy = (dest: string) => copyCache({ imports: [importOf('max-gzip')], exports: [`type=local,dest=${dest}`] });
  await copy(join(folder, 'a', 'b', 'c'));
  await assertSound(t, join(folder, 'a', 'b', 'c'));
  writeFileSync(join(folder, 'file'), '');
  await t.throwsAsync(copy(join(folder, 'file', 'c')), { code: 'ENOTDIR' });
  // Where nothing can be made at all; Node's recursive mkdir never returns from there.
  if (existsSync('/proc/self')) await t.throwsAsync(copy('/proc/bkcache/c'), { code: 'ENOENT' });
});
