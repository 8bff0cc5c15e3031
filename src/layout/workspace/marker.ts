import { randomUUID } from 'node:crypto';
import { type FileHandle, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { namesIn } from '../blobs/blob-list.js';
import { makeFolder } from '../files/durable.js';
import { createFile } from '../files/open-file.js';
import { inheritOwnership } from '../files/ownership.js';
import { isSameFile } from '../files/same-file.js';

/** The ID of a marker at the beginning of a name in `.bkcache`. */
export const MARKER_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
/** The name of a marker until it is locked. */
export const UNLOCKED_MARKER = /^new\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Before the digest of a blob whose last lease has ended. No digest begins with it, so that older releases skip the line. */
export const END = '-';

/** The size in bytes from which a marker takes no new leases: some 450 blobs, leased and ended. */
const FULL = 64 * 1024;

/**
 * A file `.bkcache/ID` of this process, locked (flock) until the process exits or removes it. A marker without a lock
 * means that its process is dead; a marker is therefore locked before it gets its name. Files named `ID.*` are
 * temporaries of the process.
 *
 * A marker is a log of leases: a line with a digest from which on the blob is leased, and a line `-DIGEST` once no lease
 * in this marker names the blob any more. Lines are only added, and a marker stays for as long as one of its leases: so
 * every release that reads it, at every instant, finds each lease that began before.
 *
 * The file is made when there is first need of it.
 */
export class Marker {
  readonly #folder: string;
  #id = randomUUID();
  #opening: Promise<FileHandle> | undefined;
  #handle: FileHandle | undefined;
  /** How many leases name a blob. */
  readonly #leased = new Map<Digest, number>();
  /** In bytes. */
  #size = 0;
  /** Whether a write has failed, and may have left a part of a line. */
  #isTorn = false;
  /** What was begun last: lines are written in the order of the changes that they tell of. */
  #turn: Promise<void> = Promise.resolve();
  #temporaries = 0;

  /** How many leases are in this marker; counted by the workspace. */
  leases = 0;

  /** @param folder - `.bkcache` of a layout */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Whether new leases need another marker. */
  get isFull(): boolean {
    return this.#size >= FULL || this.#isTorn || !this.isSeen();
  }

  /** Whether other processes see this marker. */
  isSeen(): boolean {
    return this.#handle === undefined || isSameFile(this.#handle.fd, join(this.#folder, this.#id));
  }

  /** A path for a new file of this process. */
  async temporary(): Promise<string> {
    await this.open();
    this.#temporaries++;
    return join(this.#folder, `${this.#id}.${this.#temporaries}`);
  }

  /** Adds blobs to those of a lease; they are leased once this returns. */
  async add(lease: Set<Digest>, digests: readonly Digest[]): Promise<void> {
    await this.open();
    await this.#inTurn(async () => {
      const added = new Set(digests.filter((digest) => !lease.has(digest)));
      await this.#write([...added].filter((digest) => !this.#leased.has(digest)));
      for (const digest of added) {
        lease.add(digest);
        this.#leased.set(digest, (this.#leased.get(digest) ?? 0) + 1);
      }
    });
  }

  /** Ends the lease of some blobs. Where that cannot be written, they stay leased until the marker is removed. */
  async end(lease: Set<Digest>): Promise<void> {
    await this.#inTurn(async () => {
      const ended: string[] = [];
      for (const digest of lease) {
        const others = (this.#leased.get(digest) ?? 0) - 1;
        if (others > 0) this.#leased.set(digest, others);
        else if (this.#leased.delete(digest)) ended.push(`${END}${digest}`);
      }
      lease.clear();
      await this.#write(ended).catch((error: unknown) => {
        if (!isSystemError(error)) throw error;
      });
    });
  }

  /** Removes the marker and the temporaries of its process. */
  async remove(): Promise<void> {
    if (this.#opening === undefined) return;
    const handle = await this.#opening;
    await this.#inTurn(async () => {
      this.#opening = undefined;
      this.#handle = undefined;
      try {
        await removeMarker(this.#folder, this.#id);
      } finally {
        await handle.close();
      }
    });
  }

  /** Makes the file, unless that was done. */
  open(): Promise<FileHandle> {
    this.#opening ??= this.#create().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #inTurn(change: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(change);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #write(lines: readonly string[]): Promise<void> {
    if (lines.length === 0 || this.#handle === undefined) return;
    const text = `${this.#isTorn ? '\n' : ''}${lines.join('\n')}\n`;
    try {
      await this.#handle.appendFile(text);
    } catch (error) {
      this.#isTorn = true;
      throw error;
    }
    this.#isTorn = false;
    this.#size += text.length;
  }

  async #create(): Promise<FileHandle> {
    for (; ; this.#id = randomUUID()) {
      await makeFolder(this.#folder, { durable: false, inherit: 'shared' });
      const handle = await createLocked(join(this.#folder, `new.${this.#id}`), join(this.#folder, this.#id));
      if (handle !== undefined) return (this.#handle = handle);
    }
  }
}

/** @returns undefined when another process has removed the folder, since it was empty, or the file, as a leftover */
async function createLocked(unlocked: string, marker: string): Promise<FileHandle | undefined> {
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

/** Removes a marker and the temporaries that are named after it, the marker last. */
export async function removeMarker(folder: string, id: string): Promise<void> {
  const files = (await namesIn(folder)).filter((name) => name.startsWith(`${id}.`));
  for (const name of [...files, id]) await rm(join(folder, name), { recursive: true, force: true });
}
