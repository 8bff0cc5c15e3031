import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import { localSource } from '../../src/backend/local.js';
import { copyCache } from '../../src/copy.js';
import { ESTARGZ_TOC_DIGEST, ESTARGZ_UNCOMPRESSED_SIZE } from '../../src/oci/descriptor.js';
import { sha256 } from '../../src/oci/digest.js';
import { fixture, importOf, temporary } from '../support/fixtures.js';
import { assertSound } from '../support/sound.js';

const FORCED = 'compression=estargz,force-compression=true';

interface Table {
  readonly text: string;
  /** Without the offsets, which depend on how Go and zlib deflate. */
  readonly entries: readonly object[];
  /** What the tar is from each gzip member with data to its end. */
  readonly tails: readonly Buffer[];
  readonly tar: Buffer;
  readonly header: Buffer;
}

function tableOf(blob: Buffer): Table {
  const tocOffset = Number.parseInt(blob.toString('latin1', blob.length - 35, blob.length - 19), 16);
  const toc = gunzipSync(blob.subarray(tocOffset));
  const size = Number.parseInt(toc.toString('latin1', 124, 135), 8);
  const text = toc.toString('utf8', 512, 512 + size);
  const { entries } = JSON.parse(text) as { entries: { offset?: number }[] | null };
  return {
    text,
    entries: (entries ?? []).map(({ offset: _offset, ...entry }) => entry),
    tails: (entries ?? []).flatMap(({ offset }) =>
      offset === undefined ? [] : [gunzipSync(blob.subarray(offset, tocOffset))],
    ),
    tar: gunzipSync(blob.subarray(0, tocOffset)),
    header: toc.subarray(0, 124),
  };
}

async function blobsOf(folder: string): Promise<Map<string, { bytes: Buffer; annotations: Record<string, string> }>> {
  const { graph } = await localSource({ type: 'local', attributes: { src: folder } }).load();
  return new Map(
    [...graph.descriptors.values()].map(({ digest, annotations = {} }) => {
      const bytes = readFileSync(join(folder, 'blobs', 'sha256', digest.slice('sha256:'.length)));
      const { text } = tableOf(bytes);
      return [text.replaceAll(/"offset": \d+/g, ''), { bytes, annotations }];
    }),
  );
}

test("the tables of BuildKit's own layers come out again, packed from gzip and from estargz", async (t) => {
  const theirs = await blobsOf(fixture('max-estargz'));
  const out = temporary(t);
  await copyCache({
    imports: [importOf('max-estargz')],
    exports: [`type=local,dest=${out},${FORCED},compression-level=9`],
  });
  await assertSound(t, out);
  const ours = await blobsOf(out);
  t.is(ours.size, theirs.size);
  for (const [text, { bytes, annotations }] of theirs) {
    const own = ours.get(text);
    t.truthy(own, text);
    if (own === undefined) continue;
    const [a, b] = [tableOf(bytes), tableOf(own.bytes)];
    t.deepEqual({ ...b, text }, { ...a, text });
    t.is(own.annotations[ESTARGZ_TOC_DIGEST], sha256(b.text));
    t.is(own.annotations[ESTARGZ_UNCOMPRESSED_SIZE], `${gunzipSync(own.bytes).length}`);
    t.is(annotations[ESTARGZ_TOC_DIGEST], sha256(a.text));
  }
});
