import type { Location } from '../../backend/backend.js';
import { locateAll, openSource } from '../../backend/backends.js';
import { readPlace } from '../../backend/option-string.js';
import { checkCall } from '../../calls.js';
import { isOptionString } from '../../buildkit/values.js';
import { abortable } from '../../errors.js';
import { type Descriptor, UNCOMPRESSED } from '../../oci/descriptor.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import { Session, type SessionOptions } from '../../session.js';
import { encodeHaveList } from './have-list.js';
import { layersOf } from './layers.js';
import { openStoreOrNone } from './places.js';

/** The layers that a place has, for `have` of `packCaches`. */
export interface HaveResult {
  /** Sorted. */
  readonly blobs: readonly Digest[];
  /** The digests of the uncompressed layers, sorted. */
  readonly diffIDs: readonly Digest[];
  /** The same as the bytes of a file. */
  readonly bytes: Buffer;
}

/**
 * Lists the layers that folders have, or other places, so that a bundle for them can leave those out.
 *
 * @param texts - folders, of which all caches and images count, or import strings
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT when index.json itself cannot be read
 */
export async function listLayers(texts: readonly string[], access: SessionOptions = {}): Promise<HaveResult> {
  checkCall('listLayers', { texts, options: access });
  const { signal, onNote } = access;
  const places = await Promise.all(texts.map((text) => readPlace(text, onNote)));
  return abortable(signal, async () => {
    await using session = new Session(access);
    const locations = await locateAll(places, 'import', session);
    const layers: Descriptor[] = [];
    for (const [index, at] of locations.entries()) {
      layers.push(...(await layersAt(at, isOptionString(texts[index] ?? ''), session, access)));
    }
    const blobs = new Set(layers.map(({ digest }) => digest));
    const diffIDs = new Set(
      layers.map(({ annotations }) => annotations?.[UNCOMPRESSED]).filter((tar) => isDigest(tar)),
    );
    const bytes = await encodeHaveList({ blobs, diffIDs });
    return { blobs: [...blobs].toSorted(), diffIDs: [...diffIDs].toSorted(), bytes };
  });
}

/** @param isOne - whether the location means one cache of the place */
async function layersAt(
  at: Location,
  isOne: boolean,
  session: Session,
  access: SessionOptions,
): Promise<Iterable<Descriptor>> {
  const { signal } = access;
  await using store = await openStoreOrNone(at, session);
  if (store === undefined) return (await (await openSource(at, session)).load(signal)).graph.descriptors.values();
  const one = async () =>
    store.selected?.(signal) ?? [{ names: [], descriptor: await (await openSource(at, session)).resolve(signal) }];
  return (await layersOf(store, isOne ? await one() : undefined, access)).values();
}
