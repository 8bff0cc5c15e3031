import type { CacheOptions } from '../buildkit/options.js';
import { CacheError, type Side } from '../errors.js';
import type { CacheSource, CacheTarget } from './backend.js';
import { localSource, localTarget, type LocalTargetOptions } from './local.js';

/**
 * @throws CacheError USAGE for a type that has no backend yet
 */
export function openSource(options: CacheOptions): CacheSource {
  if (options.type !== 'local') throw unsupported(options, 'import');
  return localSource(options);
}

/**
 * @throws CacheError USAGE for a type that has no backend yet
 */
export async function openTarget(options: CacheOptions, settings: LocalTargetOptions): Promise<CacheTarget> {
  if (options.type !== 'local') throw unsupported(options, 'export');
  return localTarget(options, settings);
}

function unsupported({ type }: CacheOptions, side: Side): CacheError {
  return new CacheError('USAGE', `type=${type} is understood, but this version cannot ${side} it yet`, {
    hint: `use type=local: ${side === 'import' ? 'let a build export there' : 'BuildKit imports from there'}`,
    side,
  });
}
