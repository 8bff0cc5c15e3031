import { copiesOf, withFallbacks } from '../../../backend/fallbacks.js';
import type { Mover } from './mover.js';

/** Writes the bytes of a layer as they are, or has a registry mount them from another of its repositories. */
export const copyLayer: Mover = async ({ plan: { blob }, cache, target, meter }, signal) => {
  const isMounted = await withFallbacks(copiesOf(cache, blob), async (copy) => {
    const { content, bytesRead } = meter(copy);
    await target.write(content, blob, signal);
    return copy.origin !== undefined && bytesRead() === 0 && blob.size > 0;
  });
  return { action: isMounted ? 'mounted' : 'copied', to: blob };
};
