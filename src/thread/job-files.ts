import { readSync, writeSync } from 'node:fs';
import type { Content } from '../oci/content.js';
import type { Gate } from './gate.js';

const READ_CHUNK = 256 * 1024;

/**
 * The files of one job, which another thread has opened and which are named by their descriptors. Each touch of a file
 * passes the job's gate, and every byte that is read is reported.
 */
export class JobFiles {
  readonly #gate: Gate;
  readonly #onRead: (bytes: number) => void;

  constructor(gate: Gate, onRead: (bytes: number) => void) {
    this.#gate = gate;
    this.#onRead = onRead;
  }

  /** Fills a buffer from a position of a file. @returns how many bytes there were; 0 at the end of the file */
  read(file: number, buffer: Uint8Array, position: number): number {
    const length = this.#gate.pass(() => readSync(file, buffer, 0, buffer.length, position));
    this.#onRead(length);
    return length;
  }

  /** Writes the whole chunk behind what was written before. */
  write(file: number, chunk: Uint8Array): void {
    this.#gate.pass(() => {
      for (let at = 0; at < chunk.length;) at += writeSync(file, chunk, at);
    });
  }

  /** A file as content. Reads are synchronous: the thread has nothing else to do. */
  content(file: number): Content {
    const read = this.read.bind(this);
    return {
      async *open({ start = 0, end = Number.POSITIVE_INFINITY } = {}) {
        for (let at = start; at < end;) {
          const chunk = Buffer.allocUnsafeSlow(Math.min(READ_CHUNK, end - at));
          const length = read(file, chunk, at);
          if (length === 0) return;
          at += length;
          yield chunk.subarray(0, length);
        }
      },
    };
  }
}
