import { type Digest, isDigest } from '../../oci/digest.js';

/**
 * A digest as the name of a file on FAT, exFAT and NTFS: without a colon, and such that two digests stay two names where
 * the case of letters does not matter. Neither `@` nor `^` occurs in a digest.
 */
export function portableName(digest: Digest): string {
  return digest.replace(':', '@').replaceAll(/[A-Z]/g, (letter) => `^${letter.toLowerCase()}`);
}

/**
 * The digest that a file is named after, also in the way of older releases, whose names were the digest itself.
 *
 * @returns undefined for a name that is neither
 */
export function digestOfName(name: string): Digest | undefined {
  const digest = name.replace('@', ':').replaceAll(/\^([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return isDigest(digest) ? digest : undefined;
}
