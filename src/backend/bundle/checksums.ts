import { sha256 } from '../../oci/digest.js';
import { CHECKSUMS } from './bundle-names.js';
import { damagedBundle } from './tar-entries.js';

/** The lines of `sha256sum` for files that no digest names. */
export function encodeChecksums(files: ReadonlyMap<string, Uint8Array>): Buffer {
  const lines = [...files].map(([name, bytes]) => `${sha256(bytes).slice('sha256:'.length)}  ${name}\n`);
  return Buffer.from(lines.join(''));
}

/**
 * Checks the files of a bundle that are no blobs. A bundle that others made has no checksums.
 *
 * @throws CacheError CORRUPT
 */
export function verifyChecksums(documents: ReadonlyMap<string, Uint8Array>, name: string): void {
  const found = documents.get(CHECKSUMS);
  if (found === undefined) return;
  const others = new Map([...documents].filter(([file]) => file !== CHECKSUMS));
  const lines = new Set(Buffer.from(found).toString('latin1').split('\n'));
  for (const [file, bytes] of others) {
    const [line = ''] = encodeChecksums(new Map([[file, bytes]]))
      .toString()
      .split('\n');
    if (!lines.has(line)) throw damagedBundle(`${name}, ${file}`, `${CHECKSUMS} has another checksum of it`);
  }
  if (lines.size !== others.size + 1) throw damagedBundle(`${name}, ${CHECKSUMS}`, 'it lists other files');
}
