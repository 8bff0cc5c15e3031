import { createFile, openRegular } from '../../layout/files/open-file.js';
import { BlobHash } from '../../oci/blob-hash.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';

/** Writes bytes to a new file, and tells which blob they are. */
export async function spool(content: Content, path: string, signal: AbortSignal | undefined): Promise<BlobId> {
  await using file = await createFile(path);
  const hash = new BlobHash();
  for await (const chunk of content.open({}, signal)) {
    hash.update(chunk);
    await file.writeFile(chunk);
  }
  return hash.finish();
}

/** The bytes of a file. */
export function contentOfFile(path: string, size: number): Content {
  return {
    size,
    async *open({ start = 0, end = size } = {}) {
      if (start >= end) return;
      await using file = await openRegular(path);
      yield* file.createReadStream({ start, end: end - 1, autoClose: false }) as AsyncIterable<Uint8Array>;
    },
  };
}
