import { randomUUID } from 'node:crypto';
import { type FileHandle, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { CacheError, isSystemError } from '../../errors.js';
import type { BlobId } from '../../oci/descriptor.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import { namesIn } from './blob-list.js';
import { makeFolder, writeNewFile } from '../files/durable.js';
import { openRegular, openToAppend } from '../files/open-file.js';
import { inheritOwnership } from '../files/ownership.js';
import { readSmallFile } from '../files/small-file.js';
import { WORKSPACE_FOLDER } from '../workspace/workspace.js';

/** A blob that was made from another. */
export interface Conversion {
  readonly from: Digest;
  /** What made it: `encoderName` of the codec. */
  readonly encoder: string;
  readonly to: BlobId;
  /** Of what `to` decompresses to. */
  readonly diffID: Digest;
  /** There for estargz. */
  readonly estargz?: { readonly tocDigest: Digest; readonly uncompressedSize: number } | undefined;
}

/** The limit of the file, in bytes: some 15,000 conversions. Beyond the limit the older half is dropped. */
const LIMIT = 4 * 1024 * 1024;

const digest = v.custom<Digest>(isDigest);
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const schema = v.object({
  from: digest,
  encoder: v.string(),
  to: v.object({ digest, size }),
  diffID: digest,
  estargz: v.optional(v.object({ tocDigest: digest, uncompressedSize: size })),
});

/**
 * What blobs became when they were converted, so that none is converted twice: a file with a line for each, which many
 * processes may add to at once. It is a hint: its reader looks at the blob that it names; a line that is cut short
 * counts for nothing, a later line for more than an earlier one; and where the file cannot be read or written,
 * everything goes on without it.
 */
export class Conversions {
  readonly #path: string;
  readonly #isPrivate: boolean;
  #known: Promise<Map<string, Conversion>> | undefined;

  /** @param isPrivate - whether only this user may write to the file; what others could have written is not read then */
  constructor(path: string, { isPrivate = false } = {}) {
    this.#path = path;
    this.#isPrivate = isPrivate;
  }

  /** What a blob became, as far as anybody has written it down. */
  async find(from: Digest, encoder: string): Promise<Conversion | undefined> {
    this.#known ??= this.#read();
    return (await this.#known).get(keyOf({ from, encoder }));
  }

  /** Writes down what a blob became. */
  async add(conversion: Conversion): Promise<void> {
    this.#known ??= this.#read();
    (await this.#known).set(keyOf(conversion), conversion);
    await harmless(async () => {
      await makeFolder(dirname(this.#path), { durable: false, inherit: this.#isPrivate ? 'nothing' : 'shared' });
      const handle = await openToAppend(this.#path, this.#isPrivate ? 0o600 : 0o666);
      try {
        if (!this.#isPrivate) inheritOwnership(handle.fd, this.#path, { shared: true });
        await handle.appendFile(lineOf(conversion));
        if ((await handle.stat()).size <= LIMIT) return;
      } finally {
        await handle.close();
      }
      const all = [...(await this.#read()).values()];
      await this.#replace(all.slice(Math.ceil(all.length / 2)));
    });
  }

  /** Forgets the conversions whose blob is not among these. */
  async keep(blobs: ReadonlySet<string>): Promise<void> {
    const all = [...(await this.#read()).values()];
    const left = all.filter(({ to }) => blobs.has(to.digest));
    if (left.length < all.length) await harmless(() => this.#replace(left));
  }

  async #read(): Promise<Map<string, Conversion>> {
    const known = new Map<string, Conversion>();
    await harmless(async () => {
      await using handle = await openRegular(this.#path);
      if (this.#isPrivate && !(await isOwn(handle))) return;
      for (const line of (await readSmallFile(handle, this.#path)).toString().split('\n')) {
        const conversion = parse(line);
        if (conversion === undefined) continue;
        // The latest are last.
        known.delete(keyOf(conversion));
        known.set(keyOf(conversion), conversion);
      }
    });
    return known;
  }

  async #replace(conversions: readonly Conversion[]): Promise<void> {
    if (conversions.length === 0) return rm(this.#path, { force: true });
    // A name that gc takes for one of a dead process, should this one die.
    const temporary = join(dirname(this.#path), `${randomUUID()}.conversions`);
    try {
      const lines = Buffer.from(conversions.map(lineOf).join(''));
      await writeNewFile(temporary, lines, { durable: false, place: this.#path });
      await rename(temporary, this.#path);
    } finally {
      await rm(temporary, { force: true });
    }
  }
}

/** What blobs of a layout became in it. */
export function conversionsIn(root: string): Conversions {
  return new Conversions(join(root, WORKSPACE_FOLDER, 'conversions'));
}

/** Forgets those whose blob was removed. */
export async function pruneConversions(root: string): Promise<void> {
  const names = await namesIn(join(root, 'blobs', 'sha256'));
  await conversionsIn(root).keep(new Set(names.map((name) => `sha256:${name}`)));
}

function keyOf({ from, encoder }: Pick<Conversion, 'from' | 'encoder'>): string {
  return `${from} ${encoder}`;
}

function lineOf(conversion: Conversion): string {
  return `${JSON.stringify(conversion)}\n`;
}

function parse(line: string): Conversion | undefined {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), line);
  return parsed.success ? parsed.output : undefined;
}

async function isOwn(handle: FileHandle): Promise<boolean> {
  const { uid, mode } = await handle.stat();
  return uid === process.geteuid?.() && (mode & 0o022) === 0;
}

/** A file that cannot be read or written is as good as none. */
async function harmless(use: () => Promise<void>): Promise<void> {
  try {
    await use();
  } catch (error) {
    if (!(error instanceof CacheError) && !isSystemError(error)) throw error;
  }
}
