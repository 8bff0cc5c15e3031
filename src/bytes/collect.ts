/** All bytes of a stream in one piece, for what is known to be small. */
export async function collect(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  const [first] = chunks;
  // Most come in one piece, which is not copied.
  if (first !== undefined && chunks.length === 1) return Buffer.from(first.buffer, first.byteOffset, first.length);
  return Buffer.concat(chunks);
}
