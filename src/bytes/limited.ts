/**
 * Passes bytes on, up to a limit.
 *
 * @param tooMany - makes the error that is thrown at the first byte over the limit
 */
export async function* limited(
  bytes: AsyncIterable<Uint8Array>,
  limit: number,
  tooMany: () => Error,
): AsyncGenerator<Uint8Array, void, undefined> {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > limit) throw tooMany();
    yield chunk;
  }
}
