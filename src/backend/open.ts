import type { CacheOptions } from '../buildkit/options.js';
import { CacheError, type Side } from '../errors.js';
import { type LayoutSettings, openLayout } from '../layout/layout.js';
import type { CacheSource, CacheTarget, TargetSettings } from './backend.js';
import { layoutReader } from './layout-repository.js';
import { localSource, localTarget } from './local.js';
import type { RepositoryReader } from './repository.js';

/**
 * @param layout - how folders are read; what is left out is the default
 * @throws CacheError USAGE for a type that has no backend yet
 */
export function openSource(options: CacheOptions, layout: Partial<LayoutSettings> = {}): CacheSource {
  if (options.type !== 'local') throw unsupported(options, 'import');
  return localSource(options, layout);
}

/**
 * @throws CacheError USAGE for a type that has no backend yet
 */
export async function openTarget(options: CacheOptions, settings: TargetSettings): Promise<CacheTarget> {
  if (options.type !== 'local') throw unsupported(options, 'export');
  return localTarget(options, settings);
}

/**
 * The repository that an import string leads into, whatever it selects there.
 *
 * @throws CacheError USAGE for a type that has none, NOT_FOUND
 */
export async function openRepository(options: CacheOptions): Promise<RepositoryReader> {
  if (options.type !== 'local') throw unsupported(options, 'import');
  return layoutReader(await openLayout(options.attributes['src'] ?? ''));
}

function unsupported({ type }: CacheOptions, side: Side): CacheError {
  return new CacheError('USAGE', `type=${type} is understood, but this version cannot ${side} it yet`, {
    hint: `use type=local: ${side === 'import' ? 'let a build export there' : 'BuildKit imports from there'}`,
    side,
  });
}
