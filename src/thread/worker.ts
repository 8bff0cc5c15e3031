import { createHash } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { type Content, wrongBytes, wrongSize } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import { hashDigest, hasherFor } from '../oci/digest.js';
import { Gate } from './gate.js';
import { countWith, type WindowCount } from '../codec/window-budget.js';
import { type Job, type JobResults, type Message, type Order, toPlain } from './jobs.js';
import type { Recompressed, RecompressOptions } from '../codec/recompress.js';

/** Fits into the cache of a core, in which it is read, hashed and written. */
const COPY_CHUNK = 256 * 1024;
const READ_CHUNK = 256 * 1024;
/** How many bytes to read between two words about it. */
const REPORT_EVERY = 2 * 1024 * 1024;

const port = parentPort;
countWith(workerData as WindowCount);
let unreported = 0;

port?.on('message', ({ job, gate }: Order) => {
  run(job, new Gate(gate)).then(
    (result) => {
      tell({ kind: 'read', bytes: unreported });
      tell({ kind: 'done', result });
    },
    (error: unknown) => tell({ kind: 'failed', error: toPlain(error) }),
  );
});

function tell(message: Message): void {
  // The rule takes it for a window's.
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  port?.postMessage(message);
}

async function run(job: Job, gate: Gate): Promise<JobResults[Job['kind']]> {
  unreported = 0;
  if (job.kind === 'copy') return copy(job, gate);
  // Most threads only copy.
  const codec = await import('../codec/recompress.js');
  if (job.kind === 'unpack') return codec.unpack(fileContent(job.from, gate), job.options);
  return repack(job, gate, codec.recompress);
}

/** Reads each byte once, into the same memory again and again. */
function copy({ from, to, expected, where }: Extract<Job, { kind: 'copy' }>, gate: Gate): BlobId {
  const { algorithm, hash } = hasherFor(expected.digest);
  const buffer = Buffer.allocUnsafeSlow(COPY_CHUNK);
  let size = 0;
  const read = () => gate.pass(() => readSync(from, buffer, 0, COPY_CHUNK, size));
  for (let length = read(); length > 0;) {
    const chunk = buffer.subarray(0, length);
    size += length;
    if (size > expected.size) throw wrongSize(expected, `more than ${expected.size}`, where);
    hash.update(chunk);
    if (to !== undefined) gate.pass(() => writeAll(to, chunk));
    count(length);
    length = read();
  }
  if (size < expected.size) throw wrongSize(expected, `${size}`, where);
  const digest = hashDigest(algorithm, hash);
  if (digest !== expected.digest) throw wrongBytes(expected, digest, where);
  return expected;
}

async function repack(
  { from, to, options }: Extract<Job, { kind: 'recompress' }>,
  gate: Gate,
  recompress: (source: Content, options: RecompressOptions) => Recompressed,
): Promise<JobResults['recompress']> {
  const { content, packed } = recompress(fileContent(from, gate), options);
  // What is not compressed has the digest of its tar, which is computed on the way as it is.
  const hash = options.encoding.compression === 'uncompressed' ? undefined : createHash('sha256');
  let size = 0;
  for await (const chunk of content.open()) {
    hash?.update(chunk);
    gate.pass(() => writeAll(to, chunk));
    size += chunk.length;
  }
  const digest = hash === undefined ? packed().diffID : hashDigest('sha256', hash);
  return { blob: { digest, size }, packed: packed() };
}

/** An open file; reads are those of this thread alone, which has nothing else to do meanwhile. */
function fileContent(file: number, gate: Gate): Content {
  return {
    async *open({ start: first = 0, end = Number.POSITIVE_INFINITY } = {}) {
      for (let at = first; at < end;) {
        const chunk = Buffer.allocUnsafeSlow(Math.min(READ_CHUNK, end - at));
        const start = at;
        const length = gate.pass(() => readSync(file, chunk, 0, chunk.length, start));
        if (length === 0) return;
        at += length;
        count(length);
        yield chunk.subarray(0, length);
      }
    },
  };
}

function writeAll(file: number, chunk: Uint8Array): void {
  for (let at = 0; at < chunk.length;) at += writeSync(file, chunk, at);
}

function count(bytes: number): void {
  unreported += bytes;
  if (unreported < REPORT_EVERY) return;
  tell({ kind: 'read', bytes: unreported });
  unreported = 0;
}
