import { setImmediate as nextTurn } from 'node:timers/promises';
import { ByteQueue } from '../../bytes/byte-queue.js';
import { WINDOW_MEMORY } from '../../codec/limits.js';
import { decodeZstd } from '../../codec/zstd.js';
import { type Digest, hashDigest, hasherFor } from '../../oci/digest.js';
import { badDelta, HEADER_V1, HEADER_V2, MAX_NAME, Operation } from '../format.js';
import { type PagedReader, Pages } from '../paged-reader.js';
import type { RandomReader } from '../random-reader.js';
import { DictionaryFrames } from './dictionary-frame.js';
import { type Head, Operations } from './operations.js';

const OUTPUT_CHUNK = 256 * 1024;
/** The memory for pages of the sources, in bytes. */
const PAGE_MEMORY = 4 * 1024 * 1024;

/** The sources that a delta may open, by their names. A name is looked up here and nowhere else: it never becomes a path. */
export interface DeltaSources {
  get(name: string): RandomReader | undefined;
}

/** What a delta has to make. */
export interface Promised {
  /** The size of the new tar, in bytes. */
  readonly size: number;
  readonly diffID: Digest;
}

export interface ApplyOptions {
  /** The memory for all zstd windows that are open at once, in bytes; WINDOW_MEMORY by default. */
  readonly windowMemory?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes a tar from a tar-diff and its sources. The bytes are proven right when the stream ends without an error, and not
 * before. Whatever the delta says, there are never more bytes than promised, and memory is taken for bytes that were
 * delivered only.
 *
 * @throws CacheError CORRUPT for a delta that is damaged, opens an unknown source, reads behind the end of one, or makes
 *   another tar than the promised one; FAILED for a source over 64 MiB as a zstd dictionary, and for a zstd window that is too
 *   large
 */
export async function* applyDelta(
  delta: AsyncIterable<Uint8Array>,
  sources: DeltaSources,
  promised: Promised,
  { windowMemory = WINDOW_MEMORY, signal }: ApplyOptions = {},
): AsyncGenerator<Buffer, void, undefined> {
  const where = `the delta of layer ${promised.diffID}`;
  await using queue = new ByteQueue(delta);
  const version = versionOf(await queue.exactly(HEADER_V1.length), where);
  const blame = (cause: Error) => badDelta(where, `its zstd stream is damaged: ${cause.message}`, 'format', cause);
  const stream = decodeZstd(queue.rest(), blame, { windowMemory, where, signal });
  await using operations = new Operations(stream, version, promised.size, where);
  const { algorithm, hash } = hasherFor(promised.diffID);
  let size = 0;
  for await (const chunk of rebuild(operations, sources, promised.size, where)) {
    hash.update(chunk);
    size += chunk.length;
    yield chunk;
    // Files answer at once, and zstd too: without a pause nothing else in this thread would get its turn.
    await nextTurn();
    signal?.throwIfAborted();
  }
  if (size < promised.size) {
    throw badDelta(where, `it makes ${size} bytes instead of ${promised.size}`, 'size');
  }
  const found = hashDigest(algorithm, hash);
  if (found !== promised.diffID) throw badDelta(where, `it makes a tar whose bytes hash to ${found}`, 'diffID');
}

async function* rebuild(
  operations: Operations,
  sources: DeltaSources,
  promised: number,
  where: string,
): AsyncGenerator<Buffer, void, undefined> {
  const opened = new OpenSource(sources, where);
  const frames = new DictionaryFrames(where);
  const head: Head = { operation: 0, size: 0 };
  let left = promised;
  let output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
  let filled = 0;
  /** Counts bytes before they are made. */
  const claim = (size: number) => {
    if (size > left) throw badDelta(where, `it makes more than the ${promised} bytes of the layer`, 'limit');
    left -= size;
  };
  while (operations.hasHead || (await operations.fill())) {
    operations.next(head);
    const { operation, size } = head;
    if (operation === Operation.open) {
      if (size > MAX_NAME) throw badDelta(where, `the name of a source has ${size} bytes`, 'limit');
      opened.open(await nameOf(operations, size));
      continue;
    }
    if (operation === Operation.seek) {
      opened.seek(size);
      continue;
    }
    if (operation === Operation.zstdDictionary) {
      if (filled > 0) yield output.subarray(0, filled);
      output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
      filled = 0;
      for await (const chunk of frames.read(operations, size, opened.whole(), left)) {
        claim(chunk.length);
        yield Buffer.from(chunk);
      }
      continue;
    }
    claim(size);
    if (operation !== Operation.data) opened.check(size);
    for (let rest = size; rest > 0;) {
      if (filled === OUTPUT_CHUNK) {
        yield output;
        output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
        filled = 0;
      }
      let part = Math.min(rest, OUTPUT_CHUNK - filled);
      if (operation === Operation.copy) {
        opened.take(output.subarray(filled, filled + part));
      } else {
        let data = operations.available(part);
        if (data.length === 0) data = await operations.some(part);
        part = data.length;
        if (operation === Operation.data) output.set(data, filled);
        else add(opened, data, output.subarray(filled, filled + part));
      }
      filled += part;
      rest -= part;
    }
  }
  if (filled > 0) yield output.subarray(0, filled);
}

/** ADD_DATA: bytes of the source, each plus a byte of the data, modulo 256. */
function add(source: OpenSource, data: Uint8Array, output: Uint8Array): void {
  source.take(output);
  for (let at = 0; at < data.length; at++) output[at] = (output[at] ?? 0) + (data[at] ?? 0);
}

/** The source that is open, and the position in it. */
class OpenSource {
  readonly #sources: DeltaSources;
  readonly #where: string;
  readonly #pages = new Pages(PAGE_MEMORY);
  readonly #readers = new Map<RandomReader, PagedReader>();
  #source: PagedReader | undefined;
  #at = 0;

  constructor(sources: DeltaSources, where: string) {
    this.#sources = sources;
    this.#where = where;
  }

  open(name: string): void {
    const found = this.#sources.get(name);
    if (found === undefined) {
      throw badDelta(this.#where, `it reads ${JSON.stringify(name.slice(0, 200))}, which is none of its sources`);
    }
    const reader = this.#readers.get(found) ?? this.#pages.reader(found);
    this.#readers.set(found, reader);
    this.#source = reader;
    this.#at = 0;
  }

  seek(position: number): void {
    const { size } = this.#opened();
    if (position > size) throw badDelta(this.#where, `it seeks to ${position} of a source with ${size} bytes`);
    this.#at = position;
  }

  /** Checks that the source has so many more bytes. */
  check(length: number): void {
    const { size } = this.#opened();
    if (length > size - this.#at) {
      throw badDelta(this.#where, `it reads to ${this.#at + length} of a source with ${size} bytes`);
    }
  }

  /** Fills a buffer with the next bytes, which were checked for. */
  take(into: Uint8Array): void {
    this.#opened().read(into, this.#at);
    this.#at += into.length;
  }

  /** All of the source; the position is its end then, as in the readers of Go and Rust. */
  whole(): RandomReader {
    const source = this.#opened();
    this.#at = source.size;
    return source;
  }

  #opened(): PagedReader {
    if (this.#source === undefined) throw badDelta(this.#where, 'it reads before it opens a source');
    return this.#source;
  }
}

async function nameOf(operations: Operations, size: number): Promise<string> {
  const parts: Uint8Array[] = [];
  for (let rest = size; rest > 0;) {
    const part = await operations.some(rest);
    parts.push(part);
    rest -= part.length;
  }
  return Buffer.concat(parts).toString();
}

function versionOf(header: Buffer, where: string): 1 | 2 {
  if (header.equals(HEADER_V1)) return 1;
  if (header.equals(HEADER_V2)) return 2;
  throw badDelta(where, 'it has no header of a tar-diff');
}
