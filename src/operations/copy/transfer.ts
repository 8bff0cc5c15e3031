import { availableParallelism } from 'node:os';
import type { Cache, CacheTarget } from '../../backend/backend.js';
import { placesOf, withPlaces } from '../../backend/fallbacks.js';
import type { Compression, Encoding } from '../../codec/compression.js';
import { convert } from './convert.js';
import type { Content } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isNonDistributable } from '../../oci/media-types.js';
import { parallel } from '../../bytes/parallel.js';
import { type Conversion, corrections, type Planned } from './plan.js';

/**
 * What became of a layer: its bytes were copied, packed anew, taken over by a registry from another of its
 * repositories, there already (also those of an earlier conversion), or are those of a foreign layer and nowhere near.
 */
export type LayerAction = 'copied' | 'converted' | 'mounted' | 'present' | 'foreign';

/** What happens while layers travel. Sizes are in bytes. */
export type ProgressEvent =
  | { readonly type: 'start'; readonly target: string; readonly layers: number; readonly bytes: number }
  | { readonly type: 'bytes'; readonly digest: Digest; readonly bytes: number }
  | { readonly type: 'layer'; readonly action: LayerAction; readonly from: Descriptor; readonly to: Descriptor }
  /** An export failed, or was stopped; these layers are whole at the target, and the next one finds them there. */
  | { readonly type: 'kept'; readonly target: string; readonly layers: number; readonly bytes: number };

export interface TransferOptions {
  readonly conversion: Conversion | undefined;
  readonly concurrency?: number | undefined;
  /** The most that a layer may unpack to, in bytes. */
  readonly maxLayerSize?: number | undefined;
  /** What the windows of all zstd layers that are read at once may have together, in bytes; 1 GiB by default. */
  readonly windowMemory?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined;
}

/** What a transfer did. */
export interface Transferred {
  /** The layers that are another blob now. */
  readonly replacements: ReadonlyMap<Digest, Descriptor>;
  readonly compressions: Readonly<Partial<Record<Compression, number>>>;
  readonly actions: Readonly<Record<LayerAction, number>>;
  /** Layers that stay in another compression than the one asked for, since it was not forced. */
  readonly kept: number;
  /** Layers whose media type was not that of their bytes, and is now. */
  readonly corrected: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** Brings the blobs of a cache to a target, several at once and the largest first, packing anew what has to be. */
export async function transfer(
  cache: Cache,
  planned: readonly Planned[],
  target: CacheTarget,
  {
    conversion,
    concurrency = concurrencyFor(cache, target, conversion),
    maxLayerSize,
    windowMemory,
    signal,
    onProgress,
  }: TransferOptions,
): Promise<Transferred> {
  const replacements = corrections(planned);
  const actions = { copied: 0, converted: 0, mounted: 0, present: 0, foreign: 0 };
  const compressions: Partial<Record<Compression, number>> = {};
  const totals = { kept: 0, corrected: replacements.size, bytesRead: 0, bytesWritten: 0 };
  const bytes = planned.reduce((sum, { blob }) => sum + blob.size, 0);

  const report = (action: LayerAction, from: Descriptor, to: Descriptor, compression: Compression) => {
    actions[action]++;
    compressions[compression] = (compressions[compression] ?? 0) + 1;
    onProgress?.({ type: 'layer', action, from, to });
  };

  /** What is read of a layer a second time, from another place, is no progress. */
  const meterOf = ({ digest }: Descriptor) => {
    let most = 0;
    return () => {
      let read = 0;
      return (count: number) => {
        read += count;
        if (read > most) onProgress?.({ type: 'bytes', digest, bytes: read - most });
        most = Math.max(most, read);
      };
    };
  };

  const convertLayer = async (layer: Descriptor, from: Compression, encoding: Encoding, inner: AbortSignal) => {
    const threads = threadsFor(layer.size / bytes, concurrency);
    const meter = meterOf(layer);
    const order = {
      cache,
      layer,
      compression: from,
      encoding,
      target,
      threads,
      maxSize: maxLayerSize,
      windowMemory,
      counted: (content: Content) => counted(content, meter()),
    };
    const { to, isKnown } = await convert(order, inner);
    if (to.digest !== layer.digest) replacements.set(layer.digest, to);
    if (isKnown) return report('present', layer, to, encoding.compression);
    totals.bytesRead += layer.size;
    totals.bytesWritten += to.size;
    return report('converted', layer, to, encoding.compression);
  };

  const copy = async (layer: Descriptor, compression: Compression, inner: AbortSignal) => {
    const meter = meterOf(layer);
    const isMounted = await withPlaces(placesOf(cache, layer), async (place) => {
      const count = meter();
      let isRead = false;
      const content = counted(place, (length) => {
        isRead = true;
        count(length);
      });
      await target.write(content, layer, inner);
      return content.origin !== undefined && !isRead && layer.size > 0;
    });
    if (isMounted) return report('mounted', layer, layer, compression);
    totals.bytesRead += layer.size;
    totals.bytesWritten += layer.size;
    return report('copied', layer, layer, compression);
  };

  onProgress?.({ type: 'start', target: target.name, layers: planned.length, bytes });
  // What is there already is asked for all at once.
  const copies = planned.filter(({ action }) => action === 'copy').map(({ blob }) => blob);
  const present = await target.present(copies, signal);
  const largestFirst = planned.toSorted((a, b) => b.blob.size - a.blob.size);
  await parallel(largestFirst, concurrency, signal, async ({ blob, compression, action }, inner) => {
    if (action === 'leave') return report('foreign', blob, blob, compression);
    if (action === 'convert' && conversion !== undefined)
      return convertLayer(blob, compression, conversion.encoding, inner);
    const isOther = conversion !== undefined && compression !== conversion.encoding.compression;
    if (isOther && !isNonDistributable(blob.mediaType)) totals.kept++;
    if (present.has(blob.digest)) return report('present', blob, blob, compression);
    return copy(blob, compression, inner);
  });
  return { replacements, actions, compressions, ...totals };
}

/** Packing takes a core for each layer; what only travels waits for the network most of the time. */
function concurrencyFor(cache: Cache, target: CacheTarget, conversion: Conversion | undefined): number {
  const cores = availableParallelism();
  return conversion === undefined ? Math.max(cores, cache.concurrency ?? 0, target.concurrency ?? 0) : cores;
}

/** The same plan, where foreign layers that the target has already need not come from anywhere. */
export async function withPresent(
  planned: readonly Planned[],
  target: CacheTarget,
  signal: AbortSignal | undefined,
): Promise<readonly Planned[]> {
  const absent = planned.filter(({ action }) => action === 'leave').map(({ blob }) => blob);
  if (absent.length === 0) return planned;
  const present = await target.present(absent, signal);
  return planned.map((blob) => (present.has(blob.blob.digest) ? { ...blob, action: 'copy' } : blob));
}

/**
 * How many threads one layer may use, so that a few large ones keep all cores busy, and many small ones take no more
 * memory than that needs.
 *
 * @param share - of all bytes that there are to read
 */
function threadsFor(share: number, concurrency: number): number {
  const cores = availableParallelism();
  return Math.max(1, Math.min(cores, Math.ceil(cores * Math.max(share, 1 / concurrency))));
}

/** The same content, telling how many bytes were read of it. */
function counted(content: Content, onRead: (bytes: number) => void): Content {
  return {
    ...content,
    onRead,
    async *open(range, signal) {
      for await (const chunk of content.open(range, signal)) {
        yield chunk;
        onRead(chunk.length);
      }
    },
  };
}
