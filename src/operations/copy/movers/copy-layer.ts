import { copiesOf, withFallbacks } from '../../../backend/fallbacks.js';
import type { Mover } from './mover.js';

/** Writes the bytes of a layer as they are, or has the service of both places mount or copy them. */
export const copyLayer: Mover = async ({ plan: { blob }, cache, target, meter }, signal) => {
  const isMounted = await withFallbacks(copiesOf(cache, blob), async (copy) => {
    const { content, bytesRead } = meter(copy);
    await target.write(content, blob, signal);
    return (copy.origin ?? copy.object) !== undefined && bytesRead() === 0 && blob.size > 0;
  });
  return { action: isMounted ? 'mounted' : 'copied', to: blob };
};
