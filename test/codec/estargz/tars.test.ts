import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { type Header, pack } from 'tar-stream';
import { CHUNK, encodeEstargz, type Estargz } from '../../../src/codec/estargz/encode-estargz.js';
import type { TocEntry } from '../../../src/codec/estargz/toc.js';
import { recompress } from '../../../src/codec/recompress.js';
import { contentOf } from '../../../src/oci/content.js';
import { sha256 } from '../../../src/oci/digest.js';
import { collect } from '../../../src/bytes/collect.js';

interface File {
  readonly header: Partial<Header> & { readonly name: string };
  readonly data: Buffer;
  readonly xattrs: Readonly<Record<string, Buffer>>;
}

/** Pax records of attributes, with values that are no text, which tar-stream cannot write. */
function paxRecords(xattrs: Readonly<Record<string, Buffer>>): Buffer {
  const records = Object.entries(xattrs).map(([key, value]) => {
    const rest = Buffer.concat([Buffer.from(` SCHILY.xattr.${key}=`), value, Buffer.from('\n')]);
    let length = rest.length + 1;
    while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
    return Buffer.concat([Buffer.from(String(length)), rest]);
  });
  return Buffer.concat(records);
}

function paxHeader(content: Buffer): Buffer {
  if (content.length === 0) return content;
  const header = Buffer.alloc(512);
  header.write('PaxHeader', 0);
  header.write('0000644\0', 100);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('        x', 148);
  header.write('ustar\u000000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

async function tarOf(files: readonly File[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const { header, data: bytes, xattrs: attributes } of files) {
    const tar = pack();
    tar.entry(header, bytes);
    tar.finalize();
    let entry = (await collect(tar as AsyncIterable<Uint8Array>)).subarray(0, -1024);
    let records = paxRecords(attributes);
    // An entry has one pax header: the last of several would count.
    if (entry[156] === 'x'.charCodeAt(0)) {
      const size = Number.parseInt(entry.toString('latin1', 124, 136), 8);
      records = Buffer.concat([entry.subarray(512, 512 + size), records]);
      entry = entry.subarray(512 + Math.ceil(size / 512) * 512);
    }
    parts.push(paxHeader(records), entry);
  }
  return Buffer.concat([...parts, Buffer.alloc(1024 * 5)]);
}

async function encodeWhole(tar: Buffer, level: number, chunk: number): Promise<{ blob: Buffer; result: Estargz }> {
  const pieces = async function* () {
    for (let at = 0; at < tar.length; at += chunk) yield tar.subarray(at, at + chunk);
  };
  const encoder = encodeEstargz(pieces(), level, 'test');
  const chunks: Uint8Array[] = [];
  for (;;) {
    const next = await encoder.next();
    if (next.done === true) return { blob: Buffer.concat(chunks), result: next.value };
    chunks.push(next.value);
  }
}

function entriesOf(blob: Buffer): { entries: TocEntry[]; tocOffset: number } {
  const tocOffset = Number.parseInt(blob.toString('latin1', blob.length - 35, blob.length - 19), 16);
  const tar = gunzipSync(blob.subarray(tocOffset));
  const size = Number.parseInt(tar.toString('latin1', 124, 135), 8);
  const { entries } = JSON.parse(tar.toString('utf8', 512, 512 + size)) as { entries: TocEntry[] | null };
  return { entries: entries ?? [], tocOffset };
}

const name = fc
  .array(fc.stringMatching(/^[a-zé ü<&>._-]{1,60}$/u), { minLength: 1, maxLength: 4 })
  .map((parts) => `d/${parts.join('/')}`);
const data = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(0, 1, 511, 512, 513).map((size) => Buffer.alloc(size, 'ab')),
);
const owner = { uid: fc.nat({ max: 70_000 }), gid: fc.nat({ max: 70_000 }), mode: fc.nat({ max: 0o7777 }) };
const named = { uname: fc.constantFrom('', 'root', 'daemon'), gname: fc.constantFrom('', 'root', 'staff') };
const mtime = fc.integer({ min: 0, max: 2_147_483_647 }).map((seconds) => new Date(seconds * 1000));
const common = { name, ...owner, ...named, mtime };
const xattrs = fc.dictionary(
  fc.constantFrom('user.note', 'security.capability', 'user.ü'),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  { maxKeys: 2 },
);
const none = fc.constant(Buffer.alloc(0));
const file: fc.Arbitrary<File> = fc.oneof(
  fc.record({ header: fc.record({ ...common, type: fc.constant('file' as const) }), data, xattrs }),
  fc.record({
    header: fc.record({ ...common, type: fc.constantFrom('link' as const, 'symlink' as const), linkname: name }),
    data: none,
    xattrs,
  }),
  fc.record({
    header: fc.record({
      ...common,
      type: fc.constantFrom('character-device' as const, 'block-device' as const),
      devmajor: fc.nat({ max: 255 }),
      devminor: fc.nat({ max: 255 }),
    }),
    data: none,
    xattrs,
  }),
  fc.record({
    header: fc.record({ ...common, type: fc.constantFrom('directory' as const, 'fifo' as const) }),
    data: none,
    xattrs,
  }),
);

/** What the table must say, from what went into the tar. */
function check(
  t: { is: (a: unknown, b: unknown) => unknown; true: (a: boolean) => unknown },
  blob: Buffer,
  files: readonly File[],
) {
  const { entries, tocOffset } = entriesOf(blob);
  const tops = entries.filter(({ type }) => type !== 'chunk');
  t.is(tops.length, files.length);
  for (const [index, { header, data: bytes, xattrs: attributes }] of files.entries()) {
    const top = tops[index];
    t.is(top?.name.replace(/\/$/, ''), header.name.replace(/\/$/, ''));
    t.is(top?.uid ?? 0, header.uid ?? 0);
    t.is(top?.mode ?? 0, header.mode ?? 0);
    t.is(
      top?.linkName,
      header.type === 'link' || header.type === 'symlink' ? (header.linkname ?? undefined) : undefined,
    );
    t.is(top?.modtime, header.mtime?.getTime() === 0 ? undefined : header.mtime?.toISOString().replace('.000Z', 'Z'));
    t.is(top?.devMajor ?? 0, header.devmajor ?? 0);
    for (const [key, value] of Object.entries(attributes)) t.is(top?.xattrs?.[key], value.toString('base64'));
    if (top?.type !== 'reg') continue;
    t.is(top.size ?? 0, bytes.length);
    t.is(top.digest, sha256(bytes));
    // Every chunk can be cut out of the blob by itself.
    const at = entries.indexOf(top);
    let after = entries.findIndex(({ type }, other) => other > at && type !== 'chunk');
    if (after === -1) after = entries.length;
    const chunks = bytes.length === 0 ? [] : entries.slice(at, after);
    let found = 0;
    for (const chunk of chunks) {
      const offset = chunk.offset ?? 0;
      const next = entries.map((entry) => entry.offset ?? 0).find((other) => other > offset) ?? tocOffset;
      const length = Math.min(CHUNK, bytes.length - found);
      const cut = gunzipSync(blob.subarray(offset, next)).subarray(0, length);
      t.true(cut.equals(bytes.subarray(found, found + length)));
      t.is(chunk.chunkDigest, `sha256:${createHash('sha256').update(cut).digest('hex')}`);
      t.is(chunk.chunkOffset ?? 0, found);
      found += length;
    }
    t.is(found, bytes.length);
  }
}

test('any tar comes back to the byte, and every file can be cut out of the blob', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(file, { maxLength: 8 }),
      fc.integer({ min: 0, max: 9 }),
      fc.integer({ min: 100, max: 5000 }),
      async (files, level, chunk) => {
        const tar = await tarOf(files);
        const { blob, result } = await encodeWhole(tar, level, chunk);
        check(t, blob, files);
        t.true((await encodeWhole(tar, level, 1 << 20)).blob.equals(blob));
        const all = gunzipSync(blob);
        t.true(all.subarray(0, tar.length).equals(tar));
        t.is(result.diffID, sha256(all));
        t.is(result.uncompressedSize, all.length);
        // Reading it gives the tar and its diffID, and checks both digests.
        const recompression = recompress(contentOf(blob), {
          blob: { digest: sha256(blob), size: blob.length },
          diffID: result.diffID,
          tocDigest: result.tocDigest,
          encoding: { compression: 'uncompressed' },
          where: 'test',
        });
        t.true((await collect(recompression.content.open())).equals(tar));
        t.is(recompression.result().diffID, sha256(tar));
      },
    ),
    { numRuns: 100 },
  );
});

test('files around the size of a chunk', async (t) => {
  const sizes = [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1];
  const files = sizes.map((size) => ({
    header: { name: `f${size}`, type: 'file' as const, mode: 0o644, uid: 0, mtime: new Date(1000) },
    data: Buffer.alloc(size, `${size} `),
    xattrs: {},
  }));
  const { blob } = await encodeWhole(await tarOf(files), 1, 1 << 20);
  check(t, blob, files);
  const { entries } = entriesOf(blob);
  t.deepEqual(
    entries.map(({ name: path, type, chunkOffset = 0, chunkSize = 0 }) => [path, type, chunkOffset, chunkSize]),
    [
      [`f${CHUNK - 1}`, 'reg', 0, 0],
      [`f${CHUNK}`, 'reg', 0, CHUNK],
      [`f${CHUNK + 1}`, 'reg', 0, CHUNK],
      [`f${CHUNK + 1}`, 'chunk', CHUNK, 0],
      [`f${2 * CHUNK}`, 'reg', 0, CHUNK],
      [`f${2 * CHUNK}`, 'chunk', CHUNK, CHUNK],
      [`f${2 * CHUNK + 1}`, 'reg', 0, CHUNK],
      [`f${2 * CHUNK + 1}`, 'chunk', CHUNK, CHUNK],
      [`f${2 * CHUNK + 1}`, 'chunk', 2 * CHUNK, 0],
    ],
  );
});
