import { isSystemError } from '../../errors.js';
import { openRegular } from '../../layout/files/open-file.js';
import type { Layout } from '../../layout/layout.js';
import type { Digest } from '../../oci/digest.js';
import type { OpenContent } from '../content-answer.js';

/** In bytes: what is read while the bytes before are on their way. */
const READ_SIZE = 256 * 1024;

/** Opens a blob; undefined for a missing one. gc may remove its file from then on: the open file stays. */
export async function openBlob({ blobs }: Pick<Layout, 'blobs'>, digest: Digest): Promise<OpenContent | undefined> {
  const handle = await openRegular(blobs.path(digest)).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  const read = async function* (start: number, end: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = start; at < end;) {
      const length = Math.min(READ_SIZE, end - at);
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(length), 0, length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  };
  try {
    const { size } = await handle.stat();
    return { size, read, [Symbol.asyncDispose]: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw error;
  }
}
