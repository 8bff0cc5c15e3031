import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import { localSource } from '../../src/backend/local.js';
import { encodeEstargz } from '../../src/codec/estargz/encode-estargz.js';
import { copyCache } from '../../src/copy.js';
import { CacheError } from '../../src/errors.js';
import { contentOf } from '../../src/oci/content.js';
import { ESTARGZ_TOC_DIGEST, ESTARGZ_UNCOMPRESSED_SIZE } from '../../src/oci/descriptor.js';
import { sha256 } from '../../src/oci/digest.js';
import { copyFixture, fixture, importOf, temporary } from '../support/fixtures.js';
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

test('a table of contents that is not the one of the annotation is an error', async (t) => {
  const source = temporary(t);
  copyFixture('max-estargz', source);
  const index = JSON.parse(readFileSync(join(source, 'index.json'), 'utf8')) as {
    manifests: { digest: string; size: number }[];
  };
  const [entry] = index.manifests;
  if (entry === undefined) throw new Error('the fixture has no manifest');
  const pathOf = (digest: string) => join(source, 'blobs', 'sha256', digest.slice('sha256:'.length));
  const manifest = readFileSync(pathOf(entry.digest), 'utf8').replace(
    /(stargz\/toc\.digest":"sha256:)[0-9a-f]{64}/,
    `$1${'0'.repeat(64)}`,
  );
  entry.digest = sha256(manifest);
  entry.size = manifest.length;
  writeFileSync(pathOf(entry.digest), manifest);
  writeFileSync(join(source, 'index.json'), JSON.stringify(index));
  const copy = copyCache({
    imports: [`type=local,src=${source}`],
    exports: [`type=local,dest=${temporary(t)},compression=gzip,force-compression=true`],
  });
  await t.throwsAsync(copy, { instanceOf: CacheError, code: 'CORRUPT', message: /table of contents/ });
});

test('a tar that has a table already, and one with a sparse file, are refused with the reason', async (t) => {
  for (const [type, name, reason] of [
    ['0', './stargz.index.json', /has a stargz\.index\.json already/],
    ['S', 'hole', /hole is a sparse file/],
  ] as const) {
    const tar = tarEntry(name, type);
    await t.throwsAsync(drain(encodeEstargz(contentOf(tar).open(), 6, 'x')), {
      instanceOf: CacheError,
      code: 'FAILED',
      message: reason,
    });
  }
});

function tarEntry(name: string, type: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write('0000644\0', 100);
  header.write('00000000000\0', 124);
  header.write(type, 156);
  header.write('ustar\u000000', 257);
  header.write('        ', 148);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return Buffer.concat([header, Buffer.alloc(1024)]);
}

async function drain(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}
