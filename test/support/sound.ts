import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { ExecutionContext } from 'ava';
import { decompress } from 'zstd-napi';
import { UNCOMPRESSED } from '../../src/oci/descriptor.js';
import { loadFolder } from './caches.js';

const sha256 = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/**
 * Checks a folder with other means than bkcache's own codecs: every blob hashes to its name and is read-only, every
 * layer unpacks to its diffID, and nothing that is referred to is missing.
 */
export async function assertSound(t: ExecutionContext, folder: string, tag = 'latest'): Promise<void> {
  for (const name of readdirSync(join(folder, 'blobs', 'sha256'))) {
    const path = join(folder, 'blobs', 'sha256', name);
    t.is(sha256(readFileSync(path)), `sha256:${name}`);
    t.is(statSync(path).mode & 0o777, 0o444, path);
  }
  const { graph, saved } = await loadFolder(folder, tag);
  t.truthy(saved);
  for (const layer of graph.layers) t.true(graph.descriptors.has(layer.blob), `${layer.blob} is not in the manifest`);
  for (const [digest, { annotations, size, mediaType }] of graph.descriptors) {
    const bytes = readFileSync(join(folder, 'blobs', 'sha256', digest.slice('sha256:'.length)));
    t.is(bytes.length, size);
    t.is(annotations?.[UNCOMPRESSED], sha256(unpack(bytes, mediaType)), digest);
  }
}

function unpack(bytes: Buffer, mediaType: string): Buffer {
  if (mediaType.endsWith('gzip')) return gunzipSync(bytes);
  return mediaType.endsWith('zstd') ? decompress(bytes) : bytes;
}
