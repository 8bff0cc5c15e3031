import { closeSync, fstatSync, lstatSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { CacheError, isSystemError } from '../../errors.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import { openRegularNow } from '../files/open-file.js';
import type { Flock } from '../lock/flock.js';
import { END, MARKER_ID } from './marker.js';
import { WORKSPACE_FOLDER } from './workspace.js';

/**
 * Reads the leases of all running processes out of their markers. Each line is read once, so that a look under a lock is
 * as brief as what was added since the last one.
 */
export class LeaseReader {
  readonly #folder: string;
  readonly #tryFlock: Flock;
  /** How far each marker was read, in bytes; by its ID. */
  readonly #read = new Map<string, number>();

  constructor(root: string, tryFlock: Flock) {
    this.#folder = join(root, WORKSPACE_FOLDER);
    this.#tryFlock = tryFlock;
  }

  /**
   * The blobs that were leased since the last call, and still are. Of those that it returned before it does not say
   * whether their leases have ended.
   *
   * @throws CacheError FAILED for a marker that may not be read
   */
  added(): Set<Digest> {
    return new Set(this.#ids().flatMap((id) => this.#addedTo(id)));
  }

  #ids(): string[] {
    try {
      // A link may lead out of the layout.
      if (!lstatSync(this.#folder).isDirectory()) return [];
      return [...new Set(readdirSync(this.#folder).flatMap((name) => MARKER_ID.exec(name)?.[0] ?? []))];
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return [];
      throw error;
    }
  }

  #addedTo(id: string): Digest[] {
    const fd = openMarker(join(this.#folder, id));
    if (fd === undefined) return [];
    try {
      // Without a lock its process is dead, or all its leases have ended.
      if (this.#tryFlock(fd, 'shared')) return [];
      const from = this.#read.get(id) ?? 0;
      const text = textFrom(fd, from);
      // Of a line without an end the blob is not leased yet.
      const lines = text.slice(0, text.lastIndexOf('\n') + 1);
      this.#read.set(id, from + lines.length);
      return [...leasedIn(lines.split('\n'))];
    } finally {
      closeSync(fd);
    }
  }
}

function leasedIn(lines: readonly string[]): Set<Digest> {
  const leased = new Set<Digest>();
  for (const line of lines) {
    const ended = line.startsWith(END) ? line.slice(END.length) : undefined;
    if (isDigest(line)) leased.add(line);
    else if (isDigest(ended)) leased.delete(ended);
  }
  return leased;
}

/** What stands in a file from a position on, each byte a character. */
function textFrom(fd: number, from: number): string {
  const bytes = Buffer.allocUnsafe(Math.max(0, fstatSync(fd).size - from));
  let size = 0;
  for (let read = -1; read !== 0 && size < bytes.length; size += read) {
    read = readSync(fd, bytes, size, bytes.length - size, from + size);
  }
  return bytes.toString('latin1', 0, size);
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
