import { realpath } from 'node:fs/promises';
import { dirname, join, resolve as resolvePath, sep } from 'node:path';
import type { CacheOptions } from '../../buildkit/options.js';
import { CacheError, isSystemError } from '../../errors.js';
import { parseReference } from '../../oci/reference.js';
import { LATEST } from '../../backend/local/local.js';

/**
 * Refuses exports that would write into what they read, and those of which one would replace the other.
 *
 * @throws CacheError USAGE
 */
export async function refuseOverlaps(
  imports: readonly CacheOptions[],
  exports: readonly CacheOptions[],
): Promise<void> {
  for (const exported of exports) {
    if (exported.type === 'local') await refuseOverlap(imports, exported);
  }
  const places = new Set<string>();
  for (const exported of exports) {
    const place = await placeOf(exported);
    if (place === undefined) continue;
    if (places.has(place)) {
      throw new CacheError('USAGE', `two exports go to ${place}, and one would replace the other`, {
        hint: 'name another place or another tag for one of them',
        side: 'export',
      });
    }
    places.add(place);
  }
}

/** What an export replaces, under the same name however it is written. */
async function placeOf({ attributes: { dest, ref, tag = LATEST } }: CacheOptions): Promise<string | undefined> {
  if (dest !== undefined) return `${await realPath(dest)}, tag ${tag}`;
  if (ref === undefined) return undefined;
  const { registry, repository, tag: named = LATEST } = parseReference(ref);
  return `${registry}/${repository}:${named}`;
}

async function refuseOverlap(imports: readonly CacheOptions[], exported: CacheOptions): Promise<void> {
  const destination = await realPath(exported.attributes['dest'] ?? '');
  for (const { src, tag = LATEST, digest } of imports.map(({ attributes }) => attributes)) {
    // What comes from a registry overlaps with no folder.
    if (src === undefined) continue;
    const source = await realPath(src);
    const sameTag = tag === (exported.attributes['tag'] ?? LATEST);
    if (destination === source && sameTag && digest === undefined) {
      throw new CacheError('USAGE', `the export would replace its own import, ${source}`, {
        hint: 'export to another tag (tag=…) or another folder (dest=…)',
        side: 'export',
      });
    }
    if (destination.startsWith(source + sep)) {
      throw new CacheError('USAGE', `the export folder ${destination} is inside the import ${source}`, {
        hint: 'export to a folder outside of it',
        side: 'export',
      });
    }
  }
}

/** The real path of a folder, of which the last parts need not exist yet. */
async function realPath(path: string): Promise<string> {
  const absolute = resolvePath(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    const leadsNowhere = isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG');
    if (!leadsNowhere || dirname(absolute) === absolute) throw error;
    return join(await realPath(dirname(absolute)), absolute.slice(dirname(absolute).length).replace(/^[/\\]/, ''));
  }
}
