import { createHash, randomUUID } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { chmod, copyFile, link, lstat, mkdir, open, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CacheError, isSystemError } from '../errors.js';
import { type Content, type Range, verified } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import { type Digest, hashDigest, splitDigest } from '../oci/digest.js';

/** How the bytes of a blob in another folder get here. */
export type Sharing = 'copy' | 'hardlink';

const READ_SIZE = 1024 * 1024;

/** The blobs of a layout on disk, each in a file named by its digest: image-spec image-layout.md, "Blobs". */
export class Blobs {
  readonly #root: string;
  /** Beside the blobs, so that a rename moves them; hidden from tools that walk blobs/. */
  readonly #ingest: string;
  #cloning = true;

  constructor(root: string) {
    this.#root = root;
    this.#ingest = join(root, '.bkcache');
  }

  path(digest: Digest): string {
    return join(this.#root, 'blobs', ...splitDigest(digest));
  }

  /** The bytes under a digest, unverified. Reading them throws CacheError CORRUPT when there is no such file. */
  content(digest: Digest): Content {
    const path = this.path(digest);
    return { path, open: (range, signal) => readFile(path, digest, range, signal) };
  }

  /**
   * The size of a blob, in bytes; undefined when it is not there.
   *
   * @throws CacheError CORRUPT for a link or a folder in its place
   */
  async size(digest: Digest): Promise<number | undefined> {
    const stats = await statOf(this.path(digest));
    if (stats !== undefined) refuseOthers(stats, this.path(digest));
    return stats?.size;
  }

  /** Whether the blob is there with the right size. One of a wrong size counts as missing, and is replaced. */
  async has({ digest, size }: BlobId): Promise<boolean> {
    return (await this.size(digest)) === size;
  }

  /**
   * Stores a blob: written beside its place, checked, synced, made read-only and renamed. Many processes may do this
   * at once, with the same blob too. Either the whole blob is there afterwards or nothing is.
   *
   * @param expected - what the bytes must be; left out where they are made on the way
   * @throws CacheError CORRUPT
   */
  async write(
    content: Content,
    expected: BlobId | undefined,
    { where, sharing, signal }: { readonly where: string; readonly sharing: Sharing; readonly signal?: AbortSignal },
  ): Promise<BlobId> {
    await mkdir(this.#ingest, { recursive: true });
    const temporary = join(this.#ingest, randomUUID());
    try {
      const shared = expected && (await this.#share(content, expected, temporary, sharing, where, signal));
      const blob = shared ?? (await writeFile(content, expected, temporary, where, signal));
      if (shared === undefined || sharing !== 'hardlink') await chmod(temporary, 0o444);
      const path = this.path(blob.digest);
      await mkdir(dirname(path), { recursive: true });
      if (await this.has(blob)) return blob;
      await rename(temporary, path);
      return blob;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Removes the folder for unfinished blobs, unless another process has one in it. */
  async close(): Promise<void> {
    await rmdir(this.#ingest).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
    });
  }

  /** Lets the filesystem share the bytes of a file where it can; they are read once, to be checked. */
  async #share(
    { path }: Content,
    expected: BlobId,
    temporary: string,
    sharing: Sharing,
    where: string,
    signal: AbortSignal | undefined,
  ): Promise<BlobId | undefined> {
    if (path === undefined) return undefined;
    const stats = await statOf(path);
    if (stats !== undefined) refuseOthers(stats, path);
    try {
      if (sharing === 'hardlink') await link(path, temporary);
      else if (this.#cloning) await copyFile(path, temporary, constants.COPYFILE_FICLONE_FORCE);
      else return undefined;
    } catch (error) {
      // Another filesystem, or one that cannot share: the bytes are copied instead.
      if (sharing === 'copy') this.#cloning = false;
      if (isSystemError(error, 'EXDEV', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'ENOTTY', 'EPERM', 'EMLINK')) {
        return undefined;
      }
      if (isSystemError(error, 'ENOENT')) throw missing(expected.digest, path);
      throw error;
    }
    await drain(verified(readFile(temporary, expected.digest, {}, signal), expected, where));
    return expected;
  }
}

async function drain(bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const iterator = bytes[Symbol.asyncIterator]();
  while ((await iterator.next()).done !== true);
}

async function writeFile(
  content: Content,
  expected: BlobId | undefined,
  path: string,
  where: string,
  signal: AbortSignal | undefined,
): Promise<BlobId> {
  const hash = createHash('sha256');
  let size = 0;
  const handle = await open(path, 'wx', 0o600);
  try {
    const bytes = content.open({}, signal);
    for await (const chunk of expected === undefined ? bytes : verified(bytes, expected, where)) {
      signal?.throwIfAborted();
      if (expected === undefined) hash.update(chunk);
      size += chunk.length;
      for (let at = 0; at < chunk.length;) at += (await handle.write(chunk, at)).bytesWritten;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return expected ?? { digest: hashDigest('sha256', hash), size };
}

async function* readFile(
  path: string,
  digest: Digest,
  { start = 0, end = Number.POSITIVE_INFINITY }: Range = {},
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: unknown) => {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) throw missing(digest, path);
      if (isSystemError(error, 'ELOOP')) throw linked(path);
      throw error;
    },
  );
  try {
    refuseOthers(await handle.stat(), path);
    for (let at = start; at < end;) {
      signal?.throwIfAborted();
      const length = Math.min(READ_SIZE, end - at);
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

async function statOf(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  });
}

/** Links and devices in the place of blobs could lead anywhere (CVE-2024-3727 and its like). */
function refuseOthers(stats: Stats, path: string): void {
  if (stats.isSymbolicLink()) throw linked(path);
  if (!stats.isFile()) throw new CacheError('CORRUPT', `${path} is not a regular file`);
}

function linked(path: string): CacheError {
  return new CacheError('CORRUPT', `${path} is a link; links inside a layout are not followed`, {
    hint: 'replace the link by the file that it leads to',
  });
}

function missing(digest: Digest, path: string): CacheError {
  return new CacheError('CORRUPT', `blob ${digest} is missing: there is no ${path}`, {
    hint: 'the cache is incomplete; export it anew, or copy it again from where it came from',
  });
}
