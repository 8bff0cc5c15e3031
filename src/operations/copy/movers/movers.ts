import type { BlobPlan } from '../plan.js';
import { convertLayer } from './convert-layer.js';
import { copyLayer } from './copy-layer.js';
import type { Mover } from './mover.js';

/** The way that a layer goes: what its plan says, or none where the target turns out to have the blob. */
type Way = BlobPlan['action'] | 'present';

/** A mover for each way. */
export const MOVERS: Readonly<Record<Way, Mover>> = {
  copy: copyLayer,
  convert: convertLayer,
  leave: ({ plan }) => ({ action: 'foreign', to: plan.blob }),
  present: ({ plan }) => ({ action: 'present', to: plan.blob }),
};
