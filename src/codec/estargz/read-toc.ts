import { createHash } from 'node:crypto';
import { type Digest, hashDigest } from '../../oci/digest.js';
import { ByteQueue } from '../../bytes/byte-queue.js';
import { readTarHeader } from '../../tar/header.js';
import { TOC_NAME } from './toc.js';

/** In bytes. */
const AT_ONCE = 1024 * 1024;

/**
 * Reads the end of an eStargz blob, after the tar.
 *
 * @param where - the layer, for messages
 * @returns the digest of the table of contents; undefined when there is no table, or when other bytes follow it
 * @throws CacheError CORRUPT
 */
export async function readToc(tar: AsyncIterable<Uint8Array>, where: string): Promise<Digest | undefined> {
  await using queue = new ByteQueue(tar);
  const header = await readTarHeader(queue, where);
  const isToc = 'name' in header && header.name === TOC_NAME;
  const hash = createHash('sha256');
  for (let left = isToc ? header.size : 0; left > 0;) {
    const bytes = await queue.some(left);
    if (bytes.length === 0) return undefined;
    hash.update(bytes);
    left -= bytes.length;
  }
  let isEnd = true;
  for (let rest = await queue.some(AT_ONCE); rest.length > 0; rest = await queue.some(AT_ONCE)) {
    isEnd &&= rest.every((byte) => byte === 0);
  }
  return isToc && isEnd ? hashDigest('sha256', hash) : undefined;
}
