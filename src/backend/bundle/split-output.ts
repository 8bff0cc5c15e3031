import { createHash } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CacheError } from '../../errors.js';
import { syncFolder } from '../../layout/files/durable.js';
import { bytesOfFile } from '../../layout/files/small-file.js';
import type { BundleOutput } from './bundle-output.js';
import { FileOutput } from './bundle-output.js';
import { partPath, SUMS } from './parts.js';

/** The most parts: more are a slip of the unit. */
const MAX_PARTS = 9999;

/** Numbered parts of one size, and a checksum file for `sha256sum -c`. They appear when all are whole, the checksum file last. */
export class SplitOutput implements BundleOutput {
  readonly #path: string;
  readonly #folder: string;
  readonly #size: number;
  readonly #durable: boolean;
  readonly #lines: string[] = [];
  #part: FileOutput | undefined;
  #hash = createHash('sha256');
  #filled = 0;

  /**
   * @param folder - for the parts until they are whole
   * @param size - of a part, in bytes
   * @param total - of the bundle, in bytes
   * @throws CacheError USAGE for too many parts
   */
  constructor(
    path: string,
    folder: string,
    { size, total, durable }: { size: number; total: number; durable: boolean },
  ) {
    this.#path = path;
    this.#folder = folder;
    this.#size = size;
    this.#durable = durable;
    if (total > size * MAX_PARTS) {
      throw new CacheError('USAGE', `a bundle of ${total} bytes in parts of ${size} would be over ${MAX_PARTS} files`, {
        hint: 'choose larger parts, such as --split 4GB',
      });
    }
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      this.#part ??= await FileOutput.create(this.#place(this.#number), this.#folder, this.#durable);
      const bytes = chunk.subarray(at, at + this.#size - this.#filled);
      await this.#part.write(bytes);
      this.#hash.update(bytes);
      at += bytes.length;
      this.#filled += bytes.length;
      if (this.#filled === this.#size) await this.#endPart();
    }
  }

  async finish(): Promise<void> {
    if (this.#part !== undefined) await this.#endPart();
    const before = await listedIn(`${this.#path}${SUMS}`);
    for (const name of before) await rm(join(dirname(this.#path), name), { force: true });
    await rm(`${this.#path}${SUMS}`, { force: true });
    for (let number = 1; number <= this.#lines.length; number++) {
      await rename(this.#place(number), partPath(this.#path, number));
    }
    const sums = await FileOutput.create(`${this.#path}${SUMS}`, this.#folder, this.#durable);
    await sums.write(Buffer.from(this.#lines.join('')));
    await sums.finish();
    if (this.#durable) await syncFolder(dirname(this.#path));
  }

  get #number(): number {
    return this.#lines.length + 1;
  }

  /** Where a part is until all are whole. */
  #place(number: number): string {
    return partPath(join(this.#folder, 'part'), number);
  }

  async #endPart(): Promise<void> {
    await this.#part?.finish();
    this.#part = undefined;
    this.#lines.push(`${this.#hash.digest('hex')}  ${basename(partPath(this.#path, this.#number))}\n`);
    this.#hash = createHash('sha256');
    this.#filled = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#part?.[Symbol.asyncDispose]();
  }
}

/** The parts of an earlier bundle of this name. */
async function listedIn(path: string): Promise<readonly string[]> {
  const text = (await bytesOfFile(path))?.toString() ?? '';
  const prefix = basename(path).slice(0, -SUMS.length);
  return [...text.matchAll(/^[0-9a-f]{64} [ *](\S.*)$/gm)].flatMap(([, name = '']) =>
    name.startsWith(`${prefix}.`) && /^\d{3,}$/.test(name.slice(prefix.length + 1)) ? name : [],
  );
}
