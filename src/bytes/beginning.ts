/** The first bytes of a stream, and all of it as a stream when there are more than that. */
export async function beginning(
  bytes: AsyncIterable<Uint8Array>,
  most: number,
): Promise<{ readonly head: Buffer; readonly rest: AsyncIterable<Uint8Array> | undefined }> {
  const iterator = bytes[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  for (let size = 0; ;) {
    const next = await iterator.next();
    if (next.done === true) return { head: Buffer.concat(head), rest: undefined };
    head.push(next.value);
    size += next.value.length;
    if (size > most) return { head: Buffer.alloc(0), rest: chained(head, iterator) };
  }
}

async function* chained(
  head: readonly Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* head;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
  } finally {
    await iterator.return?.();
  }
}
