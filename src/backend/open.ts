import type { CacheOptions, CacheType, OnNote } from '../buildkit/options.js';
import { CacheError, type Side } from '../errors.js';
import { type LayoutSettings, openLayout } from '../layout/layout.js';
import type { Registries, RegistryAccess } from '../net/registry/registries.js';
import { parseReference } from '../oci/reference.js';
import type { CacheSource, CacheTarget, TargetSettings } from './backend.js';
import { exportTag } from './registry/export-tag.js';
import { checkInlineExport, imageImport, openInlineTarget } from './inline/inline.js';
import { layoutReader } from './local/layout-repository.js';
import { localSource, localTarget } from './local/local.js';
import type { RepositoryReader } from './repository/repository.js';

/** What reading needs beside an option string. */
export interface ReadOptions {
  /** How registries are reached. */
  readonly registry?: RegistryAccess | undefined;
  /** How folders are read; what is left out is the default. */
  readonly layout?: Partial<LayoutSettings> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told of attributes without effect. */
  readonly onNote?: OnNote | undefined;
}

const HAVE_BACKEND: ReadonlySet<CacheType> = new Set(['local', 'registry', 'inline']);

/** Whether this version has a backend for a type; the strings of others are understood, and no more. */
export function isSupported({ type }: CacheOptions): boolean {
  return HAVE_BACKEND.has(type);
}

/**
 * Looks at all that is going to be read, so that nothing is done before one of it turns out to be impossible.
 *
 * @throws CacheError USAGE
 */
export function checkImports(imports: readonly CacheOptions[], registries: Registries): void {
  for (const imported of imports) {
    const { ref } = imageImport(imported).attributes;
    if (ref !== undefined) registries.expect(parseReference(ref).registry);
  }
}

/**
 * Looks at all that is going to be written to, so that nothing is written before one of it turns out to be impossible.
 *
 * @throws CacheError USAGE for a type that has no backend yet, too
 */
export function checkExports(exports: readonly CacheOptions[], registries: Registries): void {
  for (const exported of exports) {
    if (!isSupported(exported)) throw unsupported(exported, 'export');
    if (exported.type === 'inline') checkInlineExport(exported);
    const { ref } = exported.attributes;
    if (ref === undefined) continue;
    exportTag(ref);
    registries.expect(parseReference(ref).registry);
  }
}

/**
 * @param layout - how folders are read; what is left out is the default
 * @throws CacheError USAGE for a type that has no backend yet, and for a reference that is none
 */
export async function openSource(
  imported: CacheOptions,
  registries: Registries,
  layout: Partial<LayoutSettings> = {},
): Promise<CacheSource> {
  const options = imageImport(imported);
  switch (options.type) {
    case 'local':
      return localSource(options, layout);
    case 'registry':
      return (await import('./registry/registry.js')).registrySource(options, registries);
    default:
      throw unsupported(options, 'import');
  }
}

/**
 * @throws CacheError USAGE for a type that has no backend yet, for a reference that is none, and for healing a registry
 */
export async function openTarget(
  options: CacheOptions,
  settings: TargetSettings,
  registries: Registries,
): Promise<CacheTarget> {
  if (settings.layout?.heal === true && options.attributes['ref'] !== undefined) {
    throw new CacheError('USAGE', '--heal replaces blobs in folders, and a registry keeps what it has under a digest', {
      hint: 'leave --heal out; a damaged blob has to be deleted in the registry before it can be sent again',
      side: 'export',
    });
  }
  switch (options.type) {
    case 'local':
      return localTarget(options, settings);
    case 'registry':
      return (await import('./registry/registry.js')).registryTarget(options, registries, settings);
    case 'inline':
      return openInlineTarget(options, registries, settings);
    default:
      throw unsupported(options, 'export');
  }
}

/**
 * The repository that an import string leads into, whatever it selects there.
 *
 * @param layout - how folders are read; what is left out is the default
 * @throws CacheError USAGE for a type that has none, NOT_FOUND
 */
export async function openRepository(
  imported: CacheOptions,
  registries: Registries,
  layout: Partial<LayoutSettings> = {},
): Promise<RepositoryReader> {
  const options = imageImport(imported);
  switch (options.type) {
    case 'local':
      return layoutReader(await openLayout(options.attributes['src'] ?? '', layout));
    case 'registry':
      return (await import('./registry/registry.js')).registryRepositoryOf(options, registries, 'import');
    default:
      throw unsupported(options, 'import');
  }
}

function unsupported({ type }: CacheOptions, side: Side): CacheError {
  return new CacheError('USAGE', `type=${type} is understood, but this version cannot ${side} it yet`, {
    hint: `use type=local or type=registry: ${side === 'import' ? 'let a build export there' : 'BuildKit imports from there'}`,
    side,
  });
}
