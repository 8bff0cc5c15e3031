import type { CacheTarget, Location, TargetSettings } from '../../backend/backend.js';
import { backends, importOfExport, locate, openTarget } from '../../backend/backends.js';
import type { BundleIndex } from '../../backend/bundle/bundle.js';
import type { RequiredBlob } from '../../backend/bundle/required.js';
import type { CacheStore } from '../../backend/cache-store.js';
import type { Repository } from '../../backend/repository/repository.js';
import { CacheError } from '../../errors.js';
import { type Descriptor, ESTARGZ_TOC_DIGEST, ESTARGZ_UNCOMPRESSED_SIZE, UNCOMPRESSED } from '../../oci/descriptor.js';
import { recompressedLayer } from '../../oci/descriptor.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Content } from '../../oci/content.js';
import type { Digest } from '../../oci/digest.js';
import { layerEncoding, typeFor } from '../../oci/media-types.js';
import type { Session } from '../../session.js';
import { type Layers, layersOf } from './layers.js';
import { openStoreOrNone } from './places.js';

/** A place that a bundle is unpacked into, with what it has already. */
export interface Receiver extends AsyncDisposable {
  readonly at: Location;
  /** Undefined for a place that takes caches alone. */
  readonly repository: Repository | undefined;
  /** Takes layers, one by one. */
  readonly layers: Pick<CacheTarget, 'name' | 'present' | 'write'>;
  /** For layers of the bundle that it has in another compression: its own. */
  readonly reused: ReadonlyMap<Digest, Descriptor>;
  /** The bytes of a layer that it has. */
  blob(blob: BlobId): Content | undefined;
}

/**
 * Opens the place of an export, and looks there for the layers that a thin bundle leaves out. Its leases on them last until
 * disposal.
 *
 * @throws CacheError NOT_FOUND that lists the layers which are missing
 */
export async function openReceiver(
  at: Location,
  { required }: BundleIndex,
  session: Session,
  settings: TargetSettings,
): Promise<Receiver> {
  const store = required.size === 0 ? undefined : await storeAt(at, session);
  try {
    const wanted = [...required.values()];
    if (wanted.length > 0 && store === undefined)
      throw lacking(at, wanted, 'it has nothing yet: have the bundle packed whole, without --have');
    const repository = await backends.get(at.options.type)?.repository?.(at, session, settings);
    const target = repository ?? (await openTarget(at, session, settings));
    try {
      const reused = await reusedIn(target, wanted, store, at, session);
      return {
        at,
        repository,
        layers: target,
        reused,
        blob: (blob) => repository?.blob(blob) ?? store?.blob(blob),
        async [Symbol.asyncDispose]() {
          await target[Symbol.asyncDispose]();
          await store?.[Symbol.asyncDispose]();
        },
      };
    } catch (error) {
      await target[Symbol.asyncDispose]();
      throw error;
    }
  } catch (error) {
    await store?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** The caches that are in the place of an export already; undefined for a folder that is not made yet. */
async function storeAt(at: Location, session: Session): Promise<CacheStore | undefined> {
  try {
    return await openStoreOrNone(await locate(importOfExport(at.options), 'import', session), session);
  } catch (error) {
    if (error instanceof CacheError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

async function reusedIn(
  target: Pick<Repository, 'present'>,
  wanted: readonly RequiredBlob[],
  store: CacheStore | undefined,
  at: Location,
  { signal }: Session,
): Promise<ReadonlyMap<Digest, Descriptor>> {
  const reused = new Map<Digest, Descriptor>();
  if (wanted.length === 0 || store === undefined) return reused;
  const present = await target.present(wanted, signal);
  const absent = wanted.filter(({ digest }) => !present.has(digest));
  const byTar = absent.some(({ diffID }) => diffID !== undefined)
    ? tarsOf(await layersOf(store, undefined, { signal }))
    : new Map<string, Descriptor[]>();
  const candidates = absent.flatMap(({ diffID }) => byTar.get(diffID ?? '') ?? []);
  const usable = await target.present(candidates, signal);
  const missing: RequiredBlob[] = [];
  for (const blob of absent) {
    const found = byTar.get(blob.diffID ?? '')?.find(({ digest }) => usable.has(digest));
    if (found === undefined) missing.push(blob);
    else reused.set(blob.digest, found);
  }
  if (missing.length > 0) throw lacking(at, missing);
  return reused;
}

/** Layers by the digest of what they decompress to. */
function tarsOf(layers: Layers): Map<string, Descriptor[]> {
  const found = new Map<string, Descriptor[]>();
  for (const layer of layers.values()) {
    const tar = layer.annotations?.[UNCOMPRESSED];
    if (tar !== undefined) found.set(tar, [...(found.get(tar) ?? []), layer]);
  }
  return found;
}

/** The descriptor of a layer of the bundle whose bytes are those of the same layer in another compression. */
export function withBlobOf(layer: Descriptor, found: Descriptor): Descriptor {
  const ofTheBytes = [UNCOMPRESSED, ESTARGZ_TOC_DIGEST, ESTARGZ_UNCOMPRESSED_SIZE].flatMap((name) => {
    const value = found.annotations?.[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return recompressedLayer(layer, {
    digest: found.digest,
    size: found.size,
    mediaType: typeFor(layer.mediaType, layerEncoding(found.mediaType) ?? 'uncompressed'),
    annotations: Object.fromEntries(ofTheBytes),
  });
}

/** How many digests a message lists. */
const SHOWN = 5;

function lacking(
  { name }: Location,
  missing: readonly RequiredBlob[],
  hint = `it was packed for another place, or this one has changed since: run "bkcache have ${name} -o FILE" here, and have it packed again with --have FILE`,
): CacheError {
  const shown = missing.slice(0, SHOWN).map(({ digest }) => digest);
  const more = missing.length > SHOWN ? ` and ${missing.length - SHOWN} more` : '';
  const what = missing.length === 1 ? 'a layer' : `${missing.length} layers`;
  return new CacheError(
    'NOT_FOUND',
    `the bundle leaves out ${what} that ${name} does not have: ${shown.join(', ')}${more}`,
    { hint, side: 'export' },
  );
}
