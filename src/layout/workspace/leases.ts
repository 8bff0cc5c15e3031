import { closeSync, fstatSync, lstatSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { CacheError, isSystemError } from '../../errors.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import type { Flock } from '../lock/flock.js';
import { openRegularNow } from '../files/open-file.js';
import { PROCESS_ID, WORKSPACE_FOLDER } from './workspace.js';

/**
 * The blobs that running processes rely on: their markers in `.bkcache` list them, and only ever grow. What was read once
 * is not read again, so that a look under a lock takes no longer than what was added since the last one.
 */
export class Pins {
  readonly #folder: string;
  readonly #tryFlock: Flock;
  /** How far each marker was read, in bytes; by its ID. */
  readonly #read = new Map<string, number>();

  constructor(root: string, tryFlock: Flock) {
    this.#folder = join(root, WORKSPACE_FOLDER);
    this.#tryFlock = tryFlock;
  }

  /**
   * What was added since the last call.
   *
   * @throws CacheError FAILED for a marker that may not be read
   */
  added(): Digest[] {
    return this.#ids().flatMap((id) => this.#addedBy(id));
  }

  #ids(): string[] {
    try {
      // What a link leads to is somebody else's.
      if (!lstatSync(this.#folder).isDirectory()) return [];
      return [...new Set(readdirSync(this.#folder).flatMap((name) => PROCESS_ID.exec(name)?.[0] ?? []))];
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return [];
      throw error;
    }
  }

  #addedBy(id: string): Digest[] {
    const path = join(this.#folder, id);
    const fd = openMarker(path);
    if (fd === undefined) return [];
    try {
      // Nobody holds it: that process is dead.
      if (this.#tryFlock(fd, 'shared')) return [];
      const from = this.#read.get(id) ?? 0;
      const bytes = Buffer.alloc(Math.max(0, fstatSync(fd).size - from));
      const text = bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, from));
      // The last line may still be on its way: a blob that is being pinned is looked for only once it is.
      const whole = text.slice(0, text.lastIndexOf('\n') + 1);
      this.#read.set(id, from + whole.length);
      return whole.split('\n').filter(isDigest);
    } finally {
      closeSync(fd);
    }
  }
}

function openMarker(path: string): number | undefined {
  try {
    return openRegularNow(path);
  } catch (error) {
    // A link or a pipe is no marker.
    if (isSystemError(error, 'ENOENT') || error instanceof CacheError) return undefined;
    if (!isSystemError(error, 'EACCES', 'EPERM')) throw error;
    throw new CacheError('FAILED', `nothing was deleted: ${path} says what a process needs, and is not readable`, {
      hint: 'run it as the user who writes to this folder, or as root',
      cause: error,
    });
  }
}
