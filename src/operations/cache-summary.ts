import type { Cache } from '../backend/backend.js';
import { blobsOf, hasResults } from '../graph/graph.js';
import { isMin } from '../graph/min.js';
import type { Shape } from '../graph/save.js';

/** What `list` and `inspect` both say of a cache. */
export interface CacheSummary {
  /** The kind of its manifest; unset for a cache without a manifest. */
  readonly shape: Shape | undefined;
  /** For a cache inside an image: the platforms that have a cache. */
  readonly platforms?: readonly string[];
  readonly mode: 'min' | 'max';
  /** The size of its layers, each blob counted once; in bytes. */
  readonly size: number;
  /** How many of its records have results. */
  readonly results: number;
}

/** The summary of a cache; it reads no layer. */
export function summarize({ graph, saved, platforms }: Cache): CacheSummary {
  return {
    shape: saved?.shape,
    ...(platforms ? { platforms } : {}),
    mode: isMin(graph) ? 'min' : 'max',
    size: blobsOf(graph).reduce((sum, { size }) => sum + size, 0),
    results: graph.records.filter(hasResults).length,
  };
}
