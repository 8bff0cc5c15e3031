import type { Cache, CacheTarget } from '../../../backend/backend.js';
import type { Content } from '../../../oci/content.js';
import type { Descriptor } from '../../../oci/descriptor.js';
import type { BlobPlan } from '../plan.js';
import type { LayerAction, Metered } from '../progress.js';

/** A layer to move, and the limits of the move. */
export interface Move {
  readonly plan: BlobPlan;
  readonly cache: Cache;
  readonly target: CacheTarget;
  /** For compressing. */
  readonly threads: number;
  /** The most that the layer may decompress to, in bytes. */
  readonly maxLayerSize: number | undefined;
  /** What all zstd windows that are open at once may have together, in bytes. */
  readonly windowMemory: number | undefined;
  /** Wraps the content that is read for the move, so that it counts as progress. */
  readonly meter: (content: Content) => Metered;
}

/** The result of a move. */
export interface Moved {
  readonly action: LayerAction;
  /** The layer at the target. */
  readonly to: Descriptor;
}

/**
 * Gets a layer to its target in one of the ways that a plan can name.
 *
 * @throws CacheError CORRUPT for a layer that is missing or damaged in all its copies
 */
export type Mover = (move: Move, signal: AbortSignal) => Moved | Promise<Moved>;
