import { readFileSync } from 'node:fs';
import test from 'ava';
import { openLayout } from '../../../src/layout/layout.js';
import { type Marked, Marking } from '../../../src/layout/gc/mark.js';
import type { Digest } from '../../../src/oci/digest.js';
import { documentOf } from '../../../src/oci/document.js';
import { OCI_MANIFEST } from '../../../src/oci/media-types.js';
import { fixture } from '../../support/fixtures.js';
import { entriesOf, blobPath } from '../../support/folders.js';

async function reachOf(folder: string, text: string): Promise<readonly Digest[]> {
  const layout = await openLayout(folder);
  const document = documentOf(OCI_MANIFEST, Buffer.from(text));
  const reached: Marked = new Map();
  await new Marking(layout.blobs, [document]).mark([document.descriptor], reached);
  return [...reached.keys()].filter((digest) => digest !== document.descriptor.digest).toSorted();
}

for (const [name, change] of [
  ['names in another case', (text: string) => text.replaceAll('"digest"', '"DIGEST"').replace('"layers"', '"Layers"')],
  ['escapes in names', (text: string) => text.replaceAll('"digest"', String.raw`"d\u0069gest"`)],
  ['a long s in names', (text: string) => text.replaceAll('"digest"', '"dige\u017ft"')],
  ['values that are there twice', (text: string) => text.replaceAll('"digest"', '"digest":"x","digest"')],
  ['a list that is there twice', (text: string) => text.replace(/\}$/, ',"layers":[{}]}')],
  ['a byte order mark', (text: string) => `\uFEFF${text}`],
  ['data behind it', (text: string) => `${text}{}`],
  ['a comma too many', (text: string) => text.replace(/\}$/, ',}')],
  ['its end cut off', (text: string) => text.replace(/\}\s*$/, '')],
  ['no media types', (text: string) => text.replaceAll(/"mediaType":"[^"]*",/g, '')],
] as const) {
  test(`the blobs of a manifest are reached, whatever Go makes of it: ${name}`, async (t) => {
    for (const shape of ['max-gzip', 'max-gzip-index']) {
      const folder = fixture(shape);
      const text = readFileSync(blobPath(folder, entriesOf(folder)[0]?.digest ?? ''), 'utf8');
      t.not(change(text), text);
      const reached = await reachOf(folder, change(text));
      t.true(reached.length > 3);
      const expected = await reachOf(folder, text);
      t.deepEqual(
        expected.filter((digest) => !reached.includes(digest)),
        [],
        shape,
      );
    }
  });
}

test('a list of 200,000 entries is walked', async (t) => {
  const entries = Array.from({ length: 200_000 }, (_, index) => `{"digest":"x:${index}"}`);
  const text = `{"mediaType":"${OCI_MANIFEST}","layers":[${entries.join(',')}]}`;
  t.is((await reachOf(fixture('max-gzip'), text)).length, 200_000);
});
