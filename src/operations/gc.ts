import { checkCall } from '../calls.js';
import { abortable } from '../errors.js';
import { gc } from '../layout/gc/gc.js';
import type { GcResult } from '../layout/gc/gc-result.js';
import { openLayout } from '../layout/layout.js';
import { Session, type SessionOptions } from '../session.js';

export type { Amount, GcResult } from '../layout/gc/gc-result.js';
export type { TagUsage } from '../layout/gc/usage.js';

export interface GarbageOptions extends Pick<SessionOptions, 'layout' | 'signal'> {
  /** How long what nothing refers to is left alone after it was last touched, in milliseconds; an hour by default. */
  readonly grace?: number | undefined;
  /** Only find out what would go. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Removes from a folder of caches what nothing needs: see `gc` in layout/gc/gc.ts for what is kept.
 *
 * @throws CacheError NOT_FOUND, CORRUPT when a manifest cannot be read (nothing is deleted then), BUSY
 */
export async function collectGarbage(folder: string, options: GarbageOptions = {}): Promise<GcResult> {
  checkCall('collectGarbage', { folder, options });
  return abortable(options.signal, async () => {
    await using session = new Session(options);
    await using layout = await openLayout(folder, session.layout);
    return await gc(layout, options);
  });
}
