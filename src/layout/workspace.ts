import { randomUUID } from 'node:crypto';
import { type FileHandle, open, readFile, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../errors.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { namesIn } from './blob-list.js';
import { makeFolder } from './durable.js';
import { isSameFile } from './lock.js';

/** Where unfinished files are: beside the blobs, so that a rename moves them; hidden from tools that walk blobs/. */
export const WORKSPACE_FOLDER = '.bkcache';

/**
 * What a running process has in a layout. The file `.bkcache/ID`, which it holds a lock on for as long as it lives,
 * marks everything else there whose name begins with that ID as its own, and lists the blobs that it relies on: collect
 * keeps those, whoever refers to them. A lock that is not held means that the process is dead.
 *
 * The file is made when there is first need of it.
 */
export class Workspace {
  readonly #folder: string;
  #id = randomUUID();
  #lock: Promise<FileHandle> | undefined;
  #files = 0;
  readonly #pinned = new Set<Digest>();

  constructor(root: string) {
    this.#folder = join(root, WORKSPACE_FOLDER);
  }

  /** A path for a new file, to be renamed to its place or removed. */
  async temporary(): Promise<string> {
    await this.#open();
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

  /** Removes what is left, and the folder unless others have something in it. */
  async close(): Promise<void> {
    if (this.#lock === undefined) return;
    const handle = await this.#lock;
    this.#lock = undefined;
    try {
      await removeWorkspace(this.#folder, this.#id);
    } finally {
      await handle.close();
    }
    await rmdir(this.#folder).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY')) throw error;
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
    const { tryFlock } = await import('./flock.js');
    for (; ; this.#id = randomUUID()) {
      const path = join(this.#folder, this.#id);
      await makeFolder(this.#folder, { durable: false });
      const handle = await open(path, 'ax', 0o644).catch((error: unknown) => {
        // Another process that went has taken the folder along.
        if (isSystemError(error, 'ENOENT')) return undefined;
        throw error;
      });
      if (handle === undefined) continue;
      // Between the two, collect may have taken the file for a dead process's.
      if (tryFlock(handle.fd, 'exclusive') && (await isSameFile(handle, path))) return handle;
      await handle.close();
      await rm(path, { force: true });
    }
  }
}

/** What other processes have in a layout. */
export interface Workspaces {
  /** The blobs that running ones rely on. */
  readonly pinned: ReadonlySet<Digest>;
  /** The IDs of those that died. */
  readonly dead: readonly string[];
  /** Files of others that may not be read, so that it cannot be known what they rely on. */
  readonly hidden: readonly string[];
}

const ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

/** Looks at the workspaces of a layout, this process's own included. */
export async function readWorkspaces(root: string): Promise<Workspaces> {
  const folder = join(root, WORKSPACE_FOLDER);
  const ids = new Set((await namesIn(folder)).flatMap((name) => ID.exec(name)?.[0] ?? []));
  const pinned = new Set<Digest>();
  const dead: string[] = [];
  const hidden: string[] = [];
  for (const id of ids) {
    const pins = await readPins(join(folder, id));
    if (pins === 'dead') dead.push(id);
    else if (pins === 'hidden') hidden.push(join(folder, id));
    else for (const pin of pins) pinned.add(pin);
  }
  return { pinned, dead, hidden };
}

/** Removes what a process that died has left, the file that marks it last. */
export async function removeWorkspace(folder: string, id: string): Promise<void> {
  const files = (await namesIn(folder)).filter((name) => name.startsWith(`${id}.`));
  for (const name of [...files, id]) await rm(join(folder, name), { force: true });
}

async function readPins(path: string): Promise<Digest[] | 'dead' | 'hidden'> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return 'dead';
    if (isSystemError(error, 'EACCES', 'EPERM')) return 'hidden';
    throw error;
  }
  try {
    const { tryFlock } = await import('./flock.js');
    if (tryFlock(handle.fd, 'shared')) return 'dead';
    // The last line may still be on its way: a blob that is being pinned is looked for only once it is.
    return (await readFile(handle, 'utf8')).split('\n').filter(isDigest);
  } finally {
    await handle.close();
  }
}
