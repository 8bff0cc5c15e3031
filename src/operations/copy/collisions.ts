import { sep } from 'node:path';
import type { Location } from '../../backend/backend.js';
import { CacheError } from '../../errors.js';

/**
 * Refuses exports that would write into what they read, and those of which one would replace the other.
 *
 * @throws CacheError USAGE
 */
export function refuseCollisions(imports: readonly Location[], exports: readonly Location[]): void {
  for (const exported of exports) {
    for (const imported of imports) refuseCollision(imported, exported);
  }
  const keys = new Set<string>();
  for (const { key } of exports) {
    if (key === undefined) continue;
    if (keys.has(key)) {
      throw new CacheError('USAGE', `two exports go to ${key}, and one would replace the other`, {
        hint: 'name another place or another tag for one of them',
        side: 'export',
      });
    }
    keys.add(key);
  }
}

function refuseCollision(imported: Location, exported: Location): void {
  if (imported.path === undefined || exported.path === undefined) return;
  if (exported.key !== undefined && exported.key === imported.key) {
    throw new CacheError('USAGE', `the export would replace its own import, ${imported.path}`, {
      hint: 'export to another tag (tag=…) or another folder (dest=…)',
      side: 'export',
    });
  }
  if (exported.path.startsWith(imported.path + sep)) {
    throw new CacheError('USAGE', `the export folder ${exported.path} is inside the import ${imported.path}`, {
      hint: 'export to a folder outside of it',
      side: 'export',
    });
  }
}
