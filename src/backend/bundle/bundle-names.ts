import { type Digest, isDigest } from '../../oci/digest.js';

/** The files of a bundle that are not blobs, in the order in which they are written. */
export const OCI_LAYOUT = 'oci-layout';
export const INDEX = 'index.json';
/** Which blobs a thin bundle leaves out. */
export const REQUIRED = 'required.json';
/** The checksums of the files above, as `sha256sum -c` reads them. */
export const CHECKSUMS = 'SHA256SUMS';

/** All of them, with the most that each may have; in bytes. */
export const DOCUMENTS: ReadonlyMap<string, number> = new Map([
  [OCI_LAYOUT, 64 * 1024],
  [INDEX, 64 * 1024 * 1024],
  [REQUIRED, 64 * 1024 * 1024],
  [CHECKSUMS, 64 * 1024],
]);

/** The path of a blob in a layout: image-spec image-layout.md. */
export function blobName(digest: Digest): string {
  return `blobs/${digest.replace(':', '/')}`;
}

/** The digest in the path of a blob; undefined for other paths. */
export function digestIn(name: string): Digest | undefined {
  const [, algorithm, encoded] = /^blobs\/([^/]+)\/([^/]+)$/.exec(name) ?? [];
  const digest = `${algorithm}:${encoded}`;
  return isDigest(digest) ? digest : undefined;
}

/** A name without the `./` that `tar -cf FILE .` writes; undefined for a name that leads out of the folder. */
export function safeName(name: string): string | undefined {
  const parts = name.replace(/\/+$/, '').split('/');
  if (parts[0] === '.' && parts.length > 1) parts.shift();
  if (name === './' || name === '.') return '.';
  return parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0'))
    ? undefined
    : parts.join('/');
}
