import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { encodeEstargz } from '../../../src/codec/estargz/encode-estargz.js';
import { tocJson, tocTar } from '../../../src/codec/estargz/toc.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { encode } from '../../../src/codec/encode.js';
import { recompress } from '../../../src/codec/recompress.js';
import { contentOf } from '../../../src/oci/content.js';
import { ESTARGZ_TOC_DIGEST, ESTARGZ_UNCOMPRESSED_SIZE } from '../../../src/oci/descriptor.js';
import { type Digest, sha256 } from '../../../src/oci/digest.js';
import { goJson } from '../../../src/oci/json.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { fixture, importOf, temporary } from '../../support/fixtures.js';
import { assertSound } from '../../support/sound.js';
import { loadFolder } from '../../support/caches.js';
import { collect } from '../../../src/bytes/collect.js';
import { blobPath, copyFixture } from '../../support/folders.js';

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
  const { graph } = await loadFolder(folder);
  return new Map(
    [...graph.descriptors.values()].map(({ digest, annotations = {} }) => {
      const bytes = readFileSync(blobPath(folder, digest));
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

/** A cache of BuildKit's whose manifest has another digest for the table of one layer. */
function withWrongTocDigest(t: ExecutionContext): string {
  const source = temporary(t);
  copyFixture('max-estargz', source);
  const index = JSON.parse(readFileSync(join(source, 'index.json'), 'utf8')) as {
    manifests: { digest: string; size: number }[];
  };
  const [entry] = index.manifests;
  if (entry === undefined) throw new Error('the fixture has no manifest');
  const pathOf = (digest: string) => blobPath(source, digest);
  const manifest = readFileSync(pathOf(entry.digest), 'utf8').replace(
    /(stargz\/toc\.digest":"sha256:)[0-9a-f]{64}/,
    `$1${'0'.repeat(64)}`,
  );
  entry.digest = sha256(manifest);
  entry.size = manifest.length;
  writeFileSync(pathOf(entry.digest), manifest);
  writeFileSync(join(source, 'index.json'), JSON.stringify(index));
  return source;
}

test('a table of contents that is not the one of the annotation is an error', async (t) => {
  const source = withWrongTocDigest(t);
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

async function* of(...chunks: Uint8Array[]) {
  yield* chunks;
}

/** The tar that a blob is packed from, with everything checked on the way that is known of it. */
function unpacked(blob: Buffer, known: { diffID?: Digest; tocDigest?: string } = {}): Promise<Buffer> {
  const { content } = recompress(contentOf(blob), {
    blob: { digest: sha256(blob), size: blob.length },
    diffID: known.diffID,
    tocDigest: known.tocDigest,
    encoding: { compression: 'uncompressed' },
    where: 'test',
  });
  return collect(content.open());
}

/** An eStargz footer. */
function footer(offset: number): Buffer {
  const extra = Buffer.from(`SG\u0016\0${offset.toString(16).padStart(16, '0')}STARGZ`, 'latin1');
  const head = Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, extra.length, 0]);
  return Buffer.concat([head, extra, Buffer.from([1, 0, 0, 0xff, 0xff]), Buffer.alloc(8)]);
}

test('a footer that leads to anything but a table, and nothing behind it, is an error', async (t) => {
  const tar = Buffer.concat([Buffer.from('half of it'), Buffer.alloc(1024)]);
  const [head, tail] = [gzipSync(tar.subarray(0, 5)), gzipSync(tar.subarray(5))];
  const table = gzipSync(Buffer.concat([tocTar(Buffer.from('{}')), Buffer.from('and more')]));
  for (const [blob, diffID] of [
    [Buffer.concat([head, tail, footer(head.length)]), sha256(tar)],
    [Buffer.concat([head, tail, footer(head.length + tail.length)]), sha256(tar)],
    [Buffer.concat([head, tail, table, footer(head.length + tail.length)]), undefined],
  ] as const) {
    const known = diffID === undefined ? {} : { diffID };
    await t.throwsAsync(unpacked(blob, known), { instanceOf: CacheError, code: 'CORRUPT' });
  }
});

test('a digest of a table that is not there is an error, and an empty layer comes back', async (t) => {
  const tocDigest = sha256('a table');
  await t.throwsAsync(unpacked(gzipSync('no table'), { tocDigest }), { instanceOf: CacheError, code: 'CORRUPT' });
  const packed = await collect(encode(of(), { compression: 'estargz' }, { where: 'test' }));
  t.is((await unpacked(packed)).length, 0);
});

test('verify checks the digest of the table', async (t) => {
  const source = withWrongTocDigest(t);
  t.true((await verifyFolder(source)).sound);
  const { findings } = await verifyFolder(source, { deep: true });
  t.deepEqual(
    findings.filter(({ severity }) => severity === 'corrupt').map(({ kind, expected }) => [kind, expected]),
    [['document', `sha256:${'0'.repeat(64)}`]],
  );
});

test('headers before a header take no more memory than a few of them need', async (t) => {
  // A table's tar is a header and what it says; the type makes that a long name.
  const long = tocTar(Buffer.alloc(1024 * 1024, 'a')).subarray(0, -1024);
  long[156] = 'L'.charCodeAt(0);
  const sum = long.subarray(0, 512).reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  long.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const tar = (count: number) => of(...Array.from({ length: count }, () => long), tocTar(Buffer.from('{}')));
  const packed = (count: number) => collect(encode(tar(count), { compression: 'estargz' }, { where: 'test' }));
  await t.notThrowsAsync(packed(2));
  await t.throwsAsync(packed(9), { instanceOf: CacheError, code: 'CORRUPT', message: /too long/ });
});

test('a table is the same text in parts as in one piece', async (t) => {
  for (const count of [0, 1, 2000, 4001]) {
    const entries = Array.from({ length: count }, (_, size) => ({ name: `file <${size}>`, type: 'reg', size }));
    const whole = goJson({ version: 1, entries: count === 0 ? null : entries }, '\t');
    t.true((await tocJson(entries)).equals(whole), `${count}`);
  }
});
