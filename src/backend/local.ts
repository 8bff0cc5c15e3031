import { realpath } from 'node:fs/promises';
import { dirname, join, resolve as resolvePath, sep } from 'node:path';
import { type CacheOptions, flag } from '../buildkit/options.js';
import { CacheError, isSystemError } from '../errors.js';
import { createLayout, type LayoutSettings, openLayout } from '../layout/layout.js';
import { parseDigest } from '../oci/digest.js';
import type { CacheSource, CacheTarget, TargetSettings } from './backend.js';
import { layoutReader, layoutRepository } from './layout-repository.js';
import { repositorySource } from './repository-source.js';
import { repositoryTarget } from './repository-target.js';

/** BuildKit's default tag: client/solve.go. */
const LATEST = 'latest';

/** A cache in a folder: `type=local,src=…[,digest=…][,tag=…]`. */
export function localSource({ attributes }: CacheOptions, settings: Partial<LayoutSettings> = {}): CacheSource {
  const root = attributes['src'] ?? '';
  const { digest, tag = LATEST } = attributes;
  const reference = digest === undefined ? { tag } : { digest: parseDigest(digest, 'digest=') };
  return repositorySource(root, async () => layoutReader(await openLayout(root, settings)), reference);
}

/** A folder to export to: `type=local,dest=…[,tag=…]`. */
export async function localTarget(options: CacheOptions, settings: TargetSettings): Promise<CacheTarget> {
  if (flag(options, 'reset') === true) {
    throw new CacheError(
      'USAGE',
      'reset=true deletes blobs that other builds may be writing; this version refuses it',
      {
        hint: 'export to a new folder, and move that into the place of the old one',
        side: 'export',
      },
    );
  }
  const { dest: root = '', tag = LATEST } = options.attributes;
  const repository = layoutRepository(await createLayout(root, settings.layout), settings.sharing);
  return repositoryTarget(repository, tag, options, settings);
}

/**
 * Refuses exports that would write into what they read.
 *
 * @throws CacheError USAGE
 */
export async function refuseOverlap(imports: readonly CacheOptions[], exported: CacheOptions): Promise<void> {
  const destination = await realPath(exported.attributes['dest'] ?? '');
  for (const imported of imports) {
    const source = await realPath(imported.attributes['src'] ?? '');
    const sameTag = (imported.attributes['tag'] ?? LATEST) === (exported.attributes['tag'] ?? LATEST);
    if (destination === source && sameTag && imported.attributes['digest'] === undefined) {
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
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR') || dirname(absolute) === absolute) throw error;
    return join(await realPath(dirname(absolute)), absolute.slice(dirname(absolute).length).replace(/^[/\\]/, ''));
  }
}
