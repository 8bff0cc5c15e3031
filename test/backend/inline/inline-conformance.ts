import test, { type ExecutionContext } from 'ava';
import { copyCache, type ExportResult } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { contentOf } from '../../../src/oci/content.js';
import type { Descriptor } from '../../../src/oci/descriptor.js';
import { parseDigest } from '../../../src/oci/digest.js';
import { documentOf } from '../../../src/oci/document.js';
import { inspectCache } from '../../../src/operations/inspect.js';
import { listCaches } from '../../../src/operations/list.js';
import { resolveCache } from '../../../src/operations/resolve.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { type Entry, ImageFolder, stripped } from '../../support/image.js';
import { assertSound } from '../../support/sound.js';
import type { Place } from '../repository/conformance.js';

const MULTI = importOf('inline-multiplatform', 'multi');
const THEIR_INDEX = parseDigest('sha256:5048b6c4bb62bd1b740dc937b00ca98f9160aaf4ecd5423d74d1d126f5a8324a', 'fixture');

/** What everybody may rely on of caches inside images, wherever the images are. */
export function inlineConformance(name: string, open: (t: ExecutionContext) => Promise<Place>): void {
  const copy = async (place: Place, imported: string, exported: string): Promise<ExportResult> => {
    const { exports } = await copyCache({ imports: [imported], exports: [exported], registry: place.access });
    return exports[0] as ExportResult;
  };

  test(`${name}: an image for two platforms takes a cache, to the digest that BuildKit's own has, and gives it back`, async (t) => {
    const place = await open(t);
    const bare = await push(t, place, 'image');
    const none = await t.throwsAsync(inspectCache(place.imports('image'), { registry: place.access }), {
      instanceOf: CacheError,
    });
    t.is(none.code, 'NOT_FOUND');
    const result = await copy(place, MULTI, inline(place.exports('image')));
    t.is(result.descriptor.digest, THEIR_INDEX);
    t.like(result, { images: [{ platform: 'linux/amd64' }, { platform: 'linux/arm64' }], bytesRead: 0 });
    const found = await resolveCache(place.imports('image'), { registry: place.access });
    t.is(found.digest, THEIR_INDEX);
    for (const from of [place.imports('image'), inline(place.imports('image'))]) {
      const out = temporary(t);
      await copy(place, from, `type=local,dest=${out}`);
      await assertSound(t, out);
      t.is((await inspectCache(out)).results, 4);
    }
    const [row] = await listCaches(place.listed, { registry: place.access });
    t.deepEqual(row?.cache?.platforms, ['linux/amd64', 'linux/arm64']);
    // What the tag named before is still to be had.
    t.like(await place.repository.resolve({ digest: bare.digest }), { digest: bare.digest });
  });

  test(`${name}: an image that is not there, a cache that does not fit, and a cache as the image`, async (t) => {
    const place = await open(t);
    await push(t, place, 'image');
    await copy(place, MULTI, place.exports('cache'));
    for (const [imported, tag, code] of [
      [MULTI, 'nowhere', 'NOT_FOUND'],
      [MULTI, 'cache', 'NOT_FOUND'],
      [importOf('grown', 'main'), 'image', 'FAILED'],
    ] as const) {
      const before = await place.repository.entries();
      const error = await t.throwsAsync(copy(place, imported, inline(place.exports(tag))), { instanceOf: CacheError });
      t.is(error.code, code, tag);
      t.deepEqual(await place.repository.entries(), before);
    }
  });
}

function inline(text: string): string {
  return text.replace(/^type=\w+/, 'type=inline');
}

/** Puts BuildKit's image for two platforms into a place, without the caches that are in it. */
async function push(t: ExecutionContext, { repository }: Place, tag: string): Promise<Descriptor> {
  const image = new ImageFolder(t, 'inline-multiplatform');
  const put = async (mediaType: string, text: string, write: 'blob' | 'manifest') => {
    const document = documentOf(mediaType, Buffer.from(text));
    if (write === 'blob') await repository.write(contentOf(document.bytes), document.descriptor);
    else await repository.publish(document, undefined);
    return document.descriptor;
  };
  const index = image.json(image.top.digest) as { manifests: Entry[] };
  for (const entry of index.manifests) {
    const { config, layers } = image.json(entry.digest) as { config: Entry; layers: Entry[] };
    for (const { digest, size } of layers) {
      await repository.write(image.content(digest), { digest: parseDigest(digest, 'fixture'), size });
    }
    await put(config.mediaType, stripped(image.text(config.digest)), 'blob');
    Object.assign(entry, await put(entry.mediaType, image.changeConfig(entry.digest, stripped), 'manifest'));
  }
  const document = documentOf(image.top.mediaType, Buffer.from(JSON.stringify(index, null, 2)));
  await repository.publish(document, tag);
  return document.descriptor;
}
