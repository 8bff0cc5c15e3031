import { parseGo, string, struct } from './go-types.js';

const markerType = struct(() => ({ version: '' }), { imageLayoutVersion: ['version', string] });

/**
 * The version in an `oci-layout` file: image-spec image-layout.md. Empty if the file has no version.
 *
 * @throws CacheError CORRUPT
 */
export function markerVersion(bytes: Uint8Array, where: string): string {
  return parseGo(markerType, bytes, where).version;
}
