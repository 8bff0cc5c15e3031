import { realpath } from 'node:fs/promises';
import { dirname, join, resolve as resolvePath, sep } from 'node:path';
import { type CacheOptions, flag } from '../buildkit/options.js';
import { CacheError, isSystemError } from '../errors.js';
import { createLayout, type Layout, type LayoutSettings, openLayout } from '../layout/layout.js';
import { parseDigest } from '../oci/digest.js';
import type { CacheSource, CacheTarget, TargetSettings } from './backend.js';
import { layoutReader, layoutRepository } from './layout-repository.js';
import { repositorySource } from './repository-source.js';

/** BuildKit's default tag: client/solve.go. */
export const LATEST = 'latest';

/** A cache in a folder: `type=local,src=…[,digest=…][,tag=…]`. */
export function localSource({ attributes }: CacheOptions, settings: Partial<LayoutSettings> = {}): CacheSource {
  const root = attributes['src'] ?? '';
  const { digest, tag = LATEST } = attributes;
  const reference = digest === undefined ? { tag } : { digest: parseDigest(digest, 'digest=') };
  return repositorySource(root, async () => layoutReader(await openLayout(root, settings)), reference);
}

/** A folder to export to: `type=local,dest=…[,tag=…]`. */
export async function localTarget(options: CacheOptions, settings: TargetSettings): Promise<CacheTarget> {
  const { dest: root = '', tag = LATEST } = options.attributes;
  const layout = await createLayout(root, settings.layout);
  const { repositoryTarget } = await import('./repository-target.js');
  const target = repositoryTarget(layoutRepository(layout, settings.sharing), tag, options, settings);
  return flag(options, 'reset') === true ? withReset(target, layout, tag) : target;
}

/**
 * `reset=true`: what nothing refers to goes once the export is done. BuildKit deletes all of it (client/solve.go,
 * resetCacheStore), with what others are writing; here that has a period of grace, and what the tag stood for has none.
 */
function withReset(target: CacheTarget, layout: Layout, tag: string): CacheTarget {
  return {
    ...target,
    async publish(cache, signal) {
      const [{ collect }, { reachOfTag }] = await Promise.all([
        import('../layout/collect.js'),
        import('../layout/usage.js'),
      ]);
      const former = await reachOfTag(layout, tag, signal);
      const descriptor = await target.publish(cache, signal);
      try {
        await collect(layout, { former, signal });
      } catch (cause) {
        if (!(cause instanceof CacheError)) throw cause;
        throw new CacheError(cause.code, `${layout.root} was written, but reset=true failed: ${cause.message}`, {
          hint: cause.hint,
          side: 'export',
          cause,
        });
      }
      return descriptor;
    },
  };
}

/**
 * Refuses exports that would write into what they read.
 *
 * @throws CacheError USAGE
 */
export async function refuseOverlap(imports: readonly CacheOptions[], exported: CacheOptions): Promise<void> {
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
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR') || dirname(absolute) === absolute) throw error;
    return join(await realPath(dirname(absolute)), absolute.slice(dirname(absolute).length).replace(/^[/\\]/, ''));
  }
}
