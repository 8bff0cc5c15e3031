import { randomUUID } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { type FileHandle, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { namesIn } from '../blobs/blob-list.js';
import { deleted } from '../files/disk-error.js';
import { makeFolder } from '../files/durable.js';
import { createFile } from '../files/open-file.js';
import { inheritOwnership } from '../files/ownership.js';
import { isSameFile } from '../files/same-file.js';

/** Where unfinished files are: beside the blobs, so that a rename moves them; hidden from tools that walk blobs/. */
export const WORKSPACE_FOLDER = '.bkcache';
/** How long ago somebody else may have been at work in a layout, in milliseconds. */
const LATELY = 1000;

/** The ID of a process at the beginning of a name in `.bkcache`. */
export const PROCESS_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
/** What the marker of a process is called until it is locked. */
export const UNLOCKED_MARKER = /^new\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * What a running process has in a layout. The file `.bkcache/ID`, its marker, is locked as long as the process lives.
 * Files named `ID.*` are its own. The marker lists the blobs that the process relies on: gc removes none of them. A
 * marker without a lock means that the process is dead; a marker is therefore locked before it gets its name.
 *
 * The marker is made when there is first need of it.
 */
export class Workspace {
  readonly #root: string;
  readonly #folder: string;
  #id = randomUUID();
  #lock: Promise<FileHandle> | undefined;
  #marker: FileHandle | undefined;
  #files = 0;
  readonly #pinned = new Set<Digest>();
  #isBusy = false;
  /** When the root was last changed, once this process had its marker there. */
  #touched = 0;

  constructor(root: string) {
    this.#root = root;
    this.#folder = join(root, WORKSPACE_FOLDER);
  }

  /**
   * A path for a new file, to be renamed to its place or removed.
   *
   * @throws CacheError FAILED when the marker was deleted
   */
  async temporary(): Promise<string> {
    await this.#open();
    this.refuseLoss();
    this.#files++;
    return join(this.#folder, `${this.#id}.${this.#files}`);
  }

  /** Keeps blobs from being collected while this process runs. To be called before looking whether they are there. */
  async pin(...digests: readonly Digest[]): Promise<void> {
    const fresh = digests.filter((digest) => !this.#pinned.has(digest));
    if (fresh.length === 0) return;
    const handle = await this.#open();
    await handle.appendFile(fresh.map((digest) => `${digest}\n`).join(''));
    for (const digest of fresh) this.#pinned.add(digest);
  }

  /**
   * Makes sure that others still see what this process relies on.
   *
   * @throws CacheError FAILED when the marker was deleted, as `rm -r` of the folder does
   */
  refuseLoss(): void {
    if (this.#marker === undefined || isSameFile(this.#marker.fd, join(this.#folder, this.#id))) return;
    throw deleted(this.#root);
  }

  /** Whether somebody else has made or deleted files in the root lately, such as a lock. */
  wasBusy(): boolean {
    return this.#isBusy || changedAt(this.#root) !== this.#touched;
  }

  /** Removes what is left, and the folder unless others have something in it. */
  async close(): Promise<void> {
    if (this.#lock === undefined) return;
    const handle = await this.#lock;
    this.#lock = undefined;
    this.#marker = undefined;
    try {
      await removeWorkspace(this.#folder, this.#id);
    } finally {
      await handle.close();
    }
    await rmdir(this.#folder).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY', 'EPERM', 'EACCES')) throw error;
    });
  }

  #open(): Promise<FileHandle> {
    this.#lock ??= this.#create().catch((error: unknown) => {
      this.#lock = undefined;
      throw error;
    });
    return this.#lock;
  }

  async #create(): Promise<FileHandle> {
    this.#isBusy = Date.now() - changedAt(this.#root) < LATELY;
    for (; ; this.#id = randomUUID()) {
      await makeFolder(this.#folder, { durable: false, inherit: 'shared' });
      const handle = await this.#createMarker(join(this.#folder, `new.${this.#id}`), join(this.#folder, this.#id));
      if (handle === undefined) continue;
      this.#marker = handle;
      this.#touched = changedAt(this.#root);
      return handle;
    }
  }

  /** @returns undefined when another process that went has taken the folder along, or the file for one left behind */
  async #createMarker(unlocked: string, marker: string): Promise<FileHandle | undefined> {
    const { tryFlock } = await import('../lock/flock.js');
    let handle: FileHandle | undefined;
    try {
      handle = await createFile(unlocked);
      inheritOwnership(handle.fd, unlocked);
      if (tryFlock(handle.fd, 'exclusive')) {
        await rename(unlocked, marker);
        if (isSameFile(handle.fd, marker)) return handle;
      }
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) {
        await handle?.close();
        await rm(unlocked, { force: true });
        throw error;
      }
    }
    await handle?.close();
    await rm(unlocked, { force: true });
    return undefined;
  }
}

/** Removes what a process has in a layout, its marker last. */
export async function removeWorkspace(folder: string, id: string): Promise<void> {
  const files = (await namesIn(folder)).filter((name) => name.startsWith(`${id}.`));
  for (const name of [...files, id]) await rm(join(folder, name), { recursive: true, force: true });
}

/** In milliseconds since 1970; 0 where there is no such folder. */
function changedAt(folder: string): number {
  return lstatSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
