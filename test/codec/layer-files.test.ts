import test from 'ava';
import { pack } from 'tar-stream';
import { collect } from '../../src/bytes/collect.js';
import { encodeEstargz } from '../../src/codec/estargz/encode-estargz.js';
import { type LayerBlob, type LayerFile, layerFiles, openLayerFiles } from '../../src/codec/layer-files.js';
import type { CacheError } from '../../src/errors.js';
import { contentOf } from '../../src/oci/content.js';
import { ESTARGZ_TOC_DIGEST } from '../../src/oci/descriptor.js';
import { blobOf } from '../support/layers.js';

const MODIFIED = '2023-11-14T22:13:20Z';
const mtime = new Date(MODIFIED);

async function tarOf(): Promise<Buffer> {
  const tar = pack();
  tar.entry({ name: 'etc/', type: 'directory', mode: 0o755, mtime });
  tar.entry({ name: './etc/passwd', mode: 0o100644, mtime, uid: 1, gid: 2, uname: 'bin', gname: 'daemon' }, 'root\n');
  tar.entry({ name: `etc/${'x'.repeat(200)}`, mode: 0o4755, mtime }, 'long');
  tar.entry({ name: 'etc/hard', type: 'link', linkname: 'etc/passwd', mtime });
  tar.entry({ name: 'etc/soft', type: 'symlink', linkname: '/etc/passwd', mtime });
  tar.entry({ name: 'dev/null', type: 'character-device', devmajor: 1, devminor: 3, mtime });
  tar.entry({ name: 'etc/.wh.old', mtime }, '');
  tar.entry({ name: 'var/.wh..wh..opq', mtime }, '');
  tar.finalize();
  return collect(tar as AsyncIterable<Buffer>);
}

function layerOf(bytes: Buffer, annotations: Readonly<Record<string, string>> = {}): LayerBlob {
  const { blob } = blobOf(bytes);
  const descriptor = { ...blob, mediaType: 'application/vnd.oci.image.layer.v1.tar', annotations };
  return { content: contentOf(bytes), descriptor, where: 'test' };
}

async function all(layer: LayerBlob): Promise<LayerFile[]> {
  const files: LayerFile[] = [];
  for await (const file of layerFiles(layer)) files.push(file);
  return files;
}

const FILES = [
  { path: 'etc', type: 'directory', mode: 0o755, modified: MODIFIED },
  { path: 'etc/passwd', type: 'file', size: 5, mode: 0o644, uid: 1, gid: 2, user: 'bin', group: 'daemon' },
  { path: `etc/${'x'.repeat(200)}`, type: 'file', size: 4, mode: 0o4755 },
  { path: 'etc/hard', type: 'hardlink', size: 0, link: 'etc/passwd' },
  { path: 'etc/soft', type: 'symlink', size: 0, link: '/etc/passwd' },
  { path: 'dev/null', type: 'character', device: [1, 3] },
  { path: 'etc/old', type: 'deleted' },
  { path: 'var', type: 'opaque' },
] as const;

test('files, links, devices and whiteouts of a layer', async (t) => {
  const files = await all(layerOf(await tarOf()));
  t.is(files.length, FILES.length);
  for (const [index, expected] of FILES.entries()) t.like(files[index], expected);
});

test('an eStargz layer is listed by its table alone, and to the same files', async (t) => {
  const tar = await tarOf();
  const blob = await collect(encodeEstargz(contentOf(tar).open(), 6, 'test'));
  const layer = layerOf(blob);
  const read: number[] = [];
  const content: LayerBlob['content'] = {
    async *open(range, signal) {
      for await (const chunk of layer.content.open(range, signal)) {
        read.push(range?.start ?? 0);
        yield chunk;
      }
    },
  };
  t.deepEqual(await all({ ...layer, content }), await all(layerOf(tar)));
  // The first bytes, the footer, the table.
  t.is(read.length, 3);
});

test('a table of contents with another digest is damaged, and so is one that is cut', async (t) => {
  const blob = await collect(encodeEstargz(contentOf(await tarOf()).open(), 6, 'test'));
  const other = layerOf(blob, { [ESTARGZ_TOC_DIGEST]: `sha256:${'0'.repeat(64)}` });
  t.like(await t.throwsAsync<CacheError>(all(other)), { code: 'CORRUPT', wrong: 'toc' });
  const broken = Buffer.from(blob);
  broken.fill(0, broken.length - 200, broken.length - 60);
  t.is((await t.throwsAsync<CacheError>(all(layerOf(broken)))).code, 'CORRUPT');
});

test('data that is not read is skipped, and data is that of its file', async (t) => {
  const layer = layerOf(await tarOf());
  for await (const { file, data } of openLayerFiles(layer)) {
    if (file.path.startsWith('etc/x')) t.is(String(await collect(data)), 'long');
  }
});

test('a layer that is cut short or has other bytes is damaged', async (t) => {
  const tar = await tarOf();
  const cut = layerOf(tar.subarray(0, 700));
  t.regex((await t.throwsAsync<CacheError>(all(cut))).message, /cut short/);
  const layer = layerOf(tar);
  const other = Buffer.from(tar);
  other[513] = 0x41;
  const wrong = { ...layer, content: contentOf(other) };
  t.is((await t.throwsAsync<CacheError>(all(wrong))).code, 'CORRUPT');
});

test('an empty layer has no files', async (t) => {
  t.deepEqual(await all(layerOf(Buffer.alloc(0))), []);
  t.deepEqual(await all(layerOf(Buffer.alloc(1024))), []);
});
