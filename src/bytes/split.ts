/** One stream as two, to be read one after the other. Neither closes the source when it is given up. */
export function splitAt(
  bytes: AsyncIterable<Uint8Array>,
  offset: number,
): { readonly head: AsyncIterable<Uint8Array>; readonly tail: AsyncIterable<Uint8Array> } {
  const iterator = bytes[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array();
  return {
    head: (async function* () {
      for (let left = offset; left > 0;) {
        const next = await iterator.next();
        if (next.done === true) return;
        yield next.value.subarray(0, left);
        rest = next.value.subarray(left);
        left -= next.value.length;
      }
    })(),
    tail: (async function* () {
      yield rest;
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
    })(),
  };
}
