import type { ImageFit } from '../../backend/backend.js';
import type { Graph } from '../../graph/graph.js';
import { min } from '../../graph/min.js';
import type { Export } from './export.js';

/** What of a graph is exported. */
interface Edited {
  readonly graph: Graph;
  /** For targets that are images: how far the graph fits each of them. Its layers are in the images already. */
  readonly images?: readonly ImageFit[];
}

/** Reduces a cache's graph to what the target can keep, or to what mode= asks for. */
export function edit({ cache: { graph }, target, request }: Export): Edited {
  return target.select?.(graph) ?? { graph: request.isMin ? min(graph) : graph };
}
