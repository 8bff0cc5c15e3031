import { CacheError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { TAR_BLOCK } from '../../tar/block.js';
import type { TarHeader } from '../../tar/header.js';
import { digestIn, DOCUMENTS, safeName } from './bundle-names.js';

/** What an entry of a bundle is. */
export type BundleEntry =
  | { readonly kind: 'document'; readonly name: string }
  | { readonly kind: 'blob'; readonly digest: Digest }
  /** Nothing that a layout needs: the file that `docker load` reads, or a folder. */
  | { readonly kind: 'other' };

/**
 * Judges the headers of a bundle, one after the other. What could be harmful to somebody who unpacks it with tar is
 * refused, although bkcache itself makes no file under a name of a header.
 */
export class EntryJudge {
  readonly #seen = new Set<string>();

  /**
   * @param where - the offset of the header, for messages
   * @throws CacheError CORRUPT
   */
  judge({ type, name: written, size, isSparse }: TarHeader, where: string): BundleEntry {
    const shown = JSON.stringify(written.slice(0, 200));
    const name = safeName(written);
    if (name === undefined) throw hostile(where, `the name ${shown} leads out of the folder`);
    if (isSparse) throw hostile(where, `${shown} has holes`);
    if (type === '5') return { kind: 'other' };
    if (type !== '0') throw hostile(where, `${shown} is ${TYPES[type] ?? `an entry of type ${JSON.stringify(type)}`}`);
    if (this.#seen.has(name)) throw hostile(where, `${shown} is in it twice`);
    this.#seen.add(name);
    const most = DOCUMENTS.get(name);
    if (most !== undefined) {
      if (size > most) throw hostile(where, `${shown} has ${size} bytes, over the limit of ${most}`);
      return { kind: 'document', name };
    }
    if (name !== 'blobs' && !name.startsWith('blobs/')) return { kind: 'other' };
    const digest = digestIn(name);
    if (digest === undefined) throw hostile(where, `${shown} is not the path of a blob`);
    return { kind: 'blob', digest };
  }
}

const TYPES: Readonly<Record<string, string>> = {
  1: 'a hard link',
  2: 'a symbolic link',
  3: 'a device',
  4: 'a device',
  6: 'a pipe',
  g: 'a header for all entries that follow',
};

/** The bytes between the data of an entry and the next header. */
export function paddingOf(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}

/** The error for an entry that no bundle has. */
export function hostile(where: string, what: string): CacheError {
  return new CacheError('CORRUPT', `${where}: no bundle has this: ${what}`, {
    hint: 'nothing was taken from it; have it made again with "bkcache pack", or with skopeo as an oci-archive',
    wrong: 'format',
  });
}

/** The error for a tar that is damaged. */
export function damagedBundle(where: string, what: string, cause?: unknown): CacheError {
  return new CacheError('CORRUPT', `${where}: the bundle is damaged: ${what}`, {
    hint: 'fetch the bundle again, or have it packed again',
    wrong: 'format',
    cause,
  });
}
