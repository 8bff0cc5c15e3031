import * as v from 'valibot';
import { CacheError } from '../../errors.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import { goJson } from '../../oci/json.js';

/** A blob that a thin bundle leaves out, since its receiver has it. */
export interface RequiredBlob {
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
  /** The digest of the uncompressed layer, where the receiver may have the layer in another compression. */
  readonly diffID?: Digest;
}

const digest = v.custom<Digest>(isDigest, 'not a digest');
const requiredType = v.object({
  version: v.literal(1),
  blobs: v.array(
    v.object({ digest, size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)), diffID: v.exactOptional(digest) }),
  ),
});

/** The bytes of `required.json`, sorted by digest. */
export function encodeRequired(blobs: readonly RequiredBlob[]): Buffer {
  const sorted = blobs.toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
  return goJson({
    version: 1,
    blobs: sorted.map(({ digest: name, size, diffID }) => ({
      digest: name,
      size,
      ...(diffID === undefined ? {} : { diffID }),
    })),
  });
}

/** @throws CacheError CORRUPT */
export function decodeRequired(bytes: Uint8Array, where: string): readonly RequiredBlob[] {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString());
  } catch (cause) {
    throw wrong(where, 'it is no JSON', cause);
  }
  const result = v.safeParse(requiredType, json);
  if (result.success) return result.output.blobs;
  throw wrong(where, v.getDotPath(result.issues[0]) ?? 'it is no object of version 1');
}

function wrong(where: string, what: string, cause?: unknown): CacheError {
  return new CacheError('CORRUPT', `${where}: the list of required blobs cannot be read: ${what}`, {
    hint: 'a newer bkcache may have written it',
    wrong: 'format',
    cause,
  });
}
