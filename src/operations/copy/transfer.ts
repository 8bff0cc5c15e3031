import { availableParallelism } from 'node:os';
import type { Cache, CacheTarget } from '../../backend/backend.js';
import { parallel } from '../../bytes/parallel.js';
import type { Compression } from '../../codec/compression.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Export } from './export.js';
import { MOVERS } from './movers/movers.js';
import type { Moved } from './movers/mover.js';
import { type BlobPlan, corrections } from './plan.js';
import { type LayerAction, meterOf } from './progress.js';

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

/** Gets the blobs of a cache to a target as planned: several at once, the largest first. */
export async function transfer(
  plans: readonly BlobPlan[],
  { cache, target, options }: Omit<Export, 'request'>,
): Promise<Transferred> {
  const {
    concurrency = concurrencyFor(plans, cache, target),
    maxLayerSize,
    windowMemory,
    signal,
    onProgress,
  } = options;
  const bytes = plans.reduce((sum, { blob }) => sum + blob.size, 0);
  const totals = new Totals(plans);
  onProgress?.({ type: 'start', target: target.name, layers: plans.length, bytes });
  const copies = plans.filter(({ action }) => action === 'copy').map(({ blob }) => blob);
  const present = await target.present(copies, signal);
  const largestFirst = plans.toSorted((a, b) => b.blob.size - a.blob.size);
  await parallel(largestFirst, concurrency, signal, async (plan, inner) => {
    const { blob, action } = plan;
    const threads = threadsFor(blob.size / Math.max(bytes, 1), concurrency);
    const meter = meterOf(blob, onProgress);
    const move = MOVERS[present.has(blob.digest) ? 'present' : action];
    const moved = await move({ plan, cache, target, threads, maxLayerSize, windowMemory, meter }, inner);
    totals.add(plan, moved);
    onProgress?.({ type: 'layer', action: moved.action, from: blob, to: moved.to });
  });
  return totals;
}

class Totals implements Transferred {
  readonly replacements: Map<Digest, Descriptor>;
  readonly actions = { copied: 0, converted: 0, mounted: 0, present: 0, foreign: 0 };
  readonly compressions: Partial<Record<Compression, number>> = {};
  readonly kept: number;
  readonly corrected: number;
  bytesRead = 0;
  bytesWritten = 0;

  constructor(plans: readonly BlobPlan[]) {
    this.replacements = corrections(plans);
    this.kept = plans.filter(({ isKept }) => isKept).length;
    this.corrected = this.replacements.size;
  }

  add({ blob, encoding: { compression } }: BlobPlan, { action, to }: Moved): void {
    this.actions[action]++;
    this.compressions[compression] = (this.compressions[compression] ?? 0) + 1;
    if (to.digest !== blob.digest) this.replacements.set(blob.digest, to);
    if (action !== 'copied' && action !== 'converted') return;
    this.bytesRead += blob.size;
    this.bytesWritten += to.size;
  }
}

/** Compressing takes a core for each layer; layers that only travel wait for the network most of the time. */
function concurrencyFor(plans: readonly BlobPlan[], cache: Cache, target: CacheTarget): number {
  const cores = availableParallelism();
  const converts = plans.some(({ action }) => action === 'convert');
  return converts ? cores : Math.max(cores, cache.concurrency ?? 0, target.concurrency ?? 0);
}

/**
 * How many threads one layer may use, so that a few large ones keep all cores busy, and many small ones take no more
 * memory than that needs.
 *
 * @param share - the layer's part of all bytes
 */
function threadsFor(share: number, concurrency: number): number {
  const cores = availableParallelism();
  return Math.max(1, Math.min(cores, Math.ceil(cores * Math.max(share, 1 / concurrency))));
}
