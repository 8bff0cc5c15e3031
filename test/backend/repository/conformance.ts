import test, { type ExecutionContext } from 'ava';
import type { Repository } from '../../../src/backend/repository/repository.js';
import { copyCache, type ExportResult } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import type { RegistryAccess } from '../../../src/session.js';
import { type Content, contentOf, readWhole } from '../../../src/oci/content.js';
import { documentOf } from '../../../src/oci/document.js';
import { OCI_INDEX } from '../../../src/oci/media-types.js';
import { inspectCache } from '../../../src/operations/inspect.js';
import { listCaches } from '../../../src/operations/list.js';
import { resolveCache } from '../../../src/operations/resolve.js';
import { FIXTURES, importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { assertSound } from '../../support/sound.js';
import { hasBlob } from '../../support/repositories.js';
import { collect } from '../../../src/bytes/collect.js';
import { digestOfCache } from '../../support/caches.js';
import { randomBlob } from '../../support/layers.js';

/** A place for caches that is empty at first. */
export interface Place {
  /** Option strings for a tag of it. */
  imports(tag: string): string;
  exports(tag: string): string;
  /** What `bkcache list` is told. */
  readonly listed: string;
  readonly access?: RegistryAccess;
  readonly repository: Repository;
}

const ENCODED = 'compression=zstd,force-compression=true';

/** What everybody may rely on, wherever a cache is. */
export function conformance(name: string, open: (t: ExecutionContext) => Promise<Place>): void {
  const copy = async (place: Place, imported: string, exported: string): Promise<ExportResult> => {
    const { exports } = await copyCache({ imports: [imported], exports: [exported], registry: place.access });
    return exports[0] as ExportResult;
  };

  test(`${name}: every cache comes back as it was, to the digest`, async (t) => {
    const place = await open(t);
    for (const [folder, tag] of FIXTURES) {
      const { saved } = await loadFixture(folder, tag);
      const named = `${folder}-${tag}`;
      const there = await copy(place, importOf(folder, tag), place.exports(named));
      t.is(saved?.shape, there.shape);
      t.is(digestOfCache({ saved }), there.descriptor.digest);
      const out = temporary(t);
      await copy(place, place.imports(named), `type=local,dest=${out}`);
      await assertSound(t, out);
      const [here, back] = [await resolved(place, named), await resolveCache(`type=local,src=${out}`)];
      t.like(back, { mediaType: here.mediaType, digest: here.digest, size: here.size });
    }
  });

  test(`${name}: conversions, min and merging have the digests that they have in folders`, async (t) => {
    const place = await open(t);
    const [main, feature] = [importOf('grown', 'main'), importOf('grown', 'feature')];
    await copy(place, main, place.exports('main'));
    await copy(place, feature, place.exports('feature'));
    const cases = [
      { tags: ['main'], options: ENCODED },
      { tags: ['main'], options: 'compression=gzip,compression-level=9,force-compression=true' },
      { tags: ['main'], options: 'compression=uncompressed,force-compression=true,oci-mediatypes=false' },
      { tags: ['main'], options: `${ENCODED},image-manifest=false` },
      { tags: ['main'], options: 'mode=min' },
      { tags: ['main', 'feature'], options: '' },
      { tags: ['feature', 'main'], options: `mode=min,${ENCODED}` },
    ];
    for (const [index, { tags, options }] of cases.entries()) {
      const suffix = options === '' ? '' : `,${options}`;
      const here = await copyCache({
        imports: tags.map((tag) => importOf('grown', tag)),
        exports: [`type=local,dest=${temporary(t)}${suffix}`],
      });
      const there = await copyCache({
        imports: tags.map((tag) => place.imports(tag)),
        exports: [`${place.exports(`case-${index}`)}${suffix}`],
        registry: place.access,
      });
      t.is(there.exports[0]?.descriptor.digest, here.exports[0]?.descriptor.digest, `${tags.join(' + ')}: ${options}`);
      const out = temporary(t);
      await copy(place, place.imports(`case-${index}`), `type=local,dest=${out}`);
      await assertSound(t, out);
    }
  });

  test(`${name}: what is there is not written again, and a tag moves to the new cache`, async (t) => {
    const place = await open(t);
    await copy(place, importOf('max-gzip'), place.exports('one'));
    const again = await copy(place, importOf('max-gzip'), place.exports('two'));
    t.like(again, { actions: { present: 6, copied: 0 }, bytesRead: 0, bytesWritten: 0 });
    const moved = await copy(place, importOf('min-gzip'), place.exports('one'));
    t.is((await resolved(place, 'one')).digest, moved.descriptor.digest);
    t.is((await resolved(place, 'two')).digest, again.descriptor.digest);
  });

  test(`${name}: what was converted before is not converted again`, async (t) => {
    const place = await open(t);
    for (const encoding of ['zstd', 'estargz']) {
      const exported = `${place.exports(encoding)},compression=${encoding},force-compression=true`;
      const first = await copy(place, importOf('max-gzip'), exported);
      const second = await copy(place, importOf('max-gzip'), exported);
      t.true(first.actions.converted > 0);
      t.is(second.descriptor.digest, first.descriptor.digest);
      t.like(second, { actions: { converted: 0, copied: 0 }, bytesRead: 0, bytesWritten: 0 });
    }
  });

  test(`${name}: list, inspect and resolve show what is there`, async (t) => {
    const place = await open(t);
    await copy(place, importOf('max-gzip'), place.exports('one'));
    await copy(place, importOf('max-zstd'), place.exports('two'));
    const rows = await listCaches(place.listed, { registry: place.access });
    t.deepEqual(
      byTag(rows).map(({ tag, cache }) => [tag, cache?.mode, cache?.layers, cache?.records, cache?.results]),
      [
        ['one', 'max', 7, 12, 7],
        ['two', 'max', 7, 12, 7],
      ],
    );
    const described = await inspectCache(place.imports('two'), { registry: place.access });
    t.deepEqual([...new Set(described.layers.map(({ compression }) => compression))], ['zstd']);
    const error = await t.throwsAsync(resolved(place, 'three'), { instanceOf: CacheError });
    t.is(error.code, 'NOT_FOUND');
    t.regex(error.hint ?? '', /one, two/);
  });

  test(`${name}: blobs of every size are stored, found and read, whole and in parts`, async (t) => {
    const { repository } = await open(t);
    for (const size of [0, 1, 100_000, 9 * 1024 * 1024]) {
      const { bytes, blob } = randomBlob(size);
      t.false(await hasBlob(repository, blob));
      t.deepEqual(await repository.write(contentOf(bytes), blob), blob);
      t.true(await hasBlob(repository, blob));
      t.deepEqual(await repository.write(contentOf(bytes), blob), blob, 'a second time');
      t.true(bytes.equals(await readWhole(repository.blob(blob), blob, name, { limit: 1e8 })));
      for (const range of [{ start: 10 }, { end: 20 }, { start: 10, end: 20 }, { start: size }]) {
        const part = await collect(repository.blob(blob).open(range));
        t.true(bytes.subarray(range.start, range.end).equals(part), `${size} bytes: ${JSON.stringify(range)}`);
      }
    }
  });

  test(`${name}: one question for many blobs names those that are present, and no others`, async (t) => {
    const { repository } = await open(t);
    t.is((await repository.present([])).size, 0);
    const blobs = Array.from({ length: 100 }, (_, index) => randomBlob(index));
    const stored = blobs.filter((_, index) => index % 3 === 0);
    for (const { bytes, blob } of stored) await repository.write(contentOf(bytes), blob);
    const present = await repository.present(blobs.map(({ blob }) => blob));
    t.deepEqual([...present].toSorted(), stored.map(({ blob }) => blob.digest).toSorted());
  });

  test(`${name}: a blob whose digest shows at its end is stored under it`, async (t) => {
    const { repository } = await open(t);
    for (const size of [0, 1000, 8 * 1024 * 1024, 20 * 1024 * 1024 + 1]) {
      const { bytes, blob } = randomBlob(size);
      const content: Content = {
        async *open() {
          for (let at = 0; at < size; at += 300_000) yield bytes.subarray(at, at + 300_000);
        },
      };
      t.deepEqual(await repository.write(content, undefined), blob);
      t.true(bytes.equals(await readWhole(repository.blob(blob), blob, name, { limit: 1e8 })));
    }
  });

  test(`${name}: wrong bytes are refused, and nothing is stored`, async (t) => {
    const { repository } = await open(t);
    const { bytes, blob } = randomBlob(1000);
    const wrong = [bytes.toReversed(), bytes.subarray(1), Buffer.concat([bytes, bytes])];
    for (const content of wrong) {
      const error = await t.throwsAsync(repository.write(contentOf(content), blob), { instanceOf: CacheError });
      t.is(error.code, 'CORRUPT');
      t.regex(error.message, new RegExp(blob.digest));
      t.false(await hasBlob(repository, blob));
    }
    const failing: Content = {
      async *open() {
        yield bytes.subarray(0, 10);
        throw new Error('the source broke');
      },
    };
    await t.throwsAsync(repository.write(failing, blob), { message: 'the source broke' });
    await t.throwsAsync(repository.write(failing, undefined), { message: 'the source broke' });
    t.false(await hasBlob(repository, blob));
  });

  test(`${name}: a blob that is not there is an error of the data, when it is read`, async (t) => {
    const { repository } = await open(t);
    const { blob } = randomBlob(1000);
    const content = repository.blob(blob);
    const error = await t.throwsAsync(collect(content.open()), { instanceOf: CacheError });
    t.is(error.code, 'CORRUPT');
  });

  test(`${name}: manifests are found by digest, and by the tags that point at them`, async (t) => {
    const { repository } = await open(t);
    const manifest = documentOf(OCI_INDEX, Buffer.from('{"schemaVersion":2,"manifests":[]}'));
    const { mediaType, digest, size } = manifest.descriptor;
    await repository.publish(manifest, undefined);
    t.deepEqual(await repository.resolve({ digest }), { mediaType, digest, size });
    for (const tag of ['b', 'a', 'b']) await repository.publish(manifest, tag);
    t.like(await repository.resolve({ tag: 'a' }), { mediaType, digest, size });
    const entries = await repository.entries();
    t.deepEqual(
      byTag(entries).map(({ tag }) => tag),
      ['a', 'b'],
    );
    t.deepEqual(
      entries.map((entry) => 'descriptor' in entry && entry.descriptor.digest),
      [digest, digest],
    );
    const bytes = await readWhole(repository.manifest(manifest.descriptor), manifest.descriptor, name, { limit: 1e6 });
    t.true(bytes.equals(manifest.bytes));
  });

  test(`${name}: what is stopped stops`, async (t) => {
    const { repository } = await open(t);
    const stop = new AbortController();
    const { bytes, blob } = randomBlob(1000);
    const endless: Content = {
      async *open() {
        yield bytes;
        stop.abort(new CacheError('ABORTED', 'enough'));
        for (;;) yield bytes;
      },
    };
    await t.throwsAsync(repository.write(endless, undefined, stop.signal), { message: 'enough' });
    await t.throwsAsync(repository.write(contentOf(bytes), blob, stop.signal), { message: 'enough' });
    t.false(await hasBlob(repository, blob));
  });
}

function resolved(place: Place, tag: string) {
  return resolveCache(place.imports(tag), { registry: place.access });
}

function byTag<T extends { readonly tag: string | undefined }>(list: readonly T[]): T[] {
  return list.toSorted((a, b) => ((a.tag ?? '') < (b.tag ?? '') ? -1 : 1));
}
