import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { UNCOMPRESSED } from '../../src/oci/descriptor.js';
import { loadFolder } from './caches.js';
import { blobPath } from './folders.js';
import { digestOfBytes, unpack } from './layers.js';

/**
 * Checks a folder with other means than bkcache's own codecs: every blob hashes to its name and is read-only, every
 * layer unpacks to its diffID, and nothing that is referred to is missing.
 */
export async function assertSound(t: ExecutionContext, folder: string, tag = 'latest'): Promise<void> {
  for (const name of readdirSync(join(folder, 'blobs', 'sha256'))) {
    const path = join(folder, 'blobs', 'sha256', name);
    t.is(digestOfBytes(readFileSync(path)), `sha256:${name}`);
    t.is(statSync(path).mode & 0o777, 0o444, path);
  }
  const { graph, saved } = await loadFolder(folder, tag);
  t.truthy(saved);
  for (const layer of graph.layers) t.true(graph.descriptors.has(layer.blob), `${layer.blob} is not in the manifest`);
  for (const [digest, { annotations, size, mediaType }] of graph.descriptors) {
    const bytes = readFileSync(blobPath(folder, digest));
    t.is(bytes.length, size);
    t.is(annotations?.[UNCOMPRESSED], digestOfBytes(unpack(bytes, mediaType)), digest);
  }
}
