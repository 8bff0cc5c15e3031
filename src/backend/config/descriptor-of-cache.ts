import { saveBare, undescribedLayers } from '../../graph/bare.js';
import { evict } from '../../graph/evict.js';
import { dropUnusedLayers } from '../../graph/keep.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { topOf } from '../../oci/document.js';
import type { Cache } from '../backend.js';

/** Names a cache by its config; several caches together by the config of the whole, which a copy would write. */
export function descriptorOfCache({ graph, saved }: Cache): Descriptor {
  if (saved !== undefined) return topOf(saved.documents).descriptor;
  const undescribed = new Set(undescribedLayers(graph));
  return saveBare(undescribed.size === 0 ? graph : dropUnusedLayers(evict(graph, undescribed))).descriptor;
}
