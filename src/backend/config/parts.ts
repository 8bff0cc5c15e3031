import { inPieces } from '../../bytes/pieces.js';

/**
 * The size of the parts of an upload, in bytes, as BuildKit has it for S3: so small that a slow line sends one in minutes,
 * before its signature runs out, and that few of them fill the memory.
 */
export const UPLOAD_PART = 8 * 1024 ** 2;
/** S3 takes no more parts for one object. Azure takes 50,000. */
const MOST_PARTS = 10_000;
/** Parts of one object at once. Each is in memory. */
const PARTS_AT_ONCE = 4;

/** How large the parts of an object are: all of one size but for the last one, since some services want that. */
export function partSize(size: number): number {
  const mebibyte = 1024 ** 2;
  return Math.max(UPLOAD_PART, Math.ceil(size / MOST_PARTS / mebibyte) * mebibyte);
}

/** Sends the parts of a stream, several at once; no more of them are in memory. */
export async function sendParts<T>(
  bytes: AsyncIterable<Uint8Array>,
  size: number,
  send: (body: Uint8Array, number: number) => Promise<T>,
): Promise<T[]> {
  const parts: Promise<T>[] = [];
  const running = new Set<Promise<unknown>>();
  let failure: { readonly error: unknown } | undefined;
  const atOnce = size > UPLOAD_PART ? 2 : PARTS_AT_ONCE;
  try {
    for await (const piece of inPieces(bytes, size)) {
      const part = send(piece, parts.length + 1);
      const settled: Promise<unknown> = part.then(
        () => running.delete(settled),
        (error: unknown) => {
          failure ??= { error };
          running.delete(settled);
        },
      );
      running.add(settled);
      parts.push(part);
      if (running.size >= atOnce) await Promise.race(running);
      if (failure !== undefined) break;
    }
  } catch (error) {
    failure ??= { error };
  }
  // Nothing is under way when the upload is ended or aborted.
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
  return Promise.all(parts);
}
