import type { CacheOptions, CacheType } from '../buildkit/options.js';
import { CacheError, type Side } from '../errors.js';
import type { Session } from '../session.js';
import type { Backend, CacheSource, CacheTarget, Location, TargetSettings } from './backend.js';
import { bundleBackend } from './bundle/bundle-backend.js';
import type { CacheStore } from './cache-store.js';
import { azblobBackend } from './config/bucket/azblob-backend.js';
import { s3Backend } from './config/bucket/s3-backend.js';
import { ghaBackend } from './config/gha/gha-backend.js';
import { inlineBackend } from './inline/inline.js';
import { localBackend } from './local/local.js';
import { registryBackend } from './registry/registry.js';

/** The types of cache that can be read or written. The option strings of the other types are understood, and no more. */
export const backends = new Map<CacheType, Backend>([
  ['local', localBackend],
  ['registry', registryBackend],
  ['inline', inlineBackend],
  ['s3', s3Backend],
  ['azblob', azblobBackend],
  ['gha', ghaBackend],
  ['bundle', bundleBackend],
]);

/**
 * Finds out where an option string leads, and assigns the user that was given to the service there. All locations of an
 * operation are found before any of them is opened.
 *
 * @throws CacheError USAGE; UnsupportedType for a type that has no backend, or whose backend lacks this side
 */
export async function locate(options: CacheOptions, side: Side, session: Session): Promise<Location> {
  const at = await backends.get(options.type)?.locate(options, side);
  // An import of type=inline leads to a cache of another type.
  const backend = backends.get(at?.options.type ?? options.type) ?? {};
  const method = side === 'import' ? 'source' : 'target';
  if (at === undefined || !(method in backend)) throw new UnsupportedType(options.type, side);
  if (at.service !== undefined) session.credentials(at.service, side);
  return at;
}

/** Locates several option strings of one side. */
export async function locateAll(all: readonly CacheOptions[], side: Side, session: Session): Promise<Location[]> {
  const locations: Location[] = [];
  for (const options of all) locations.push(await locate(options, side, session));
  return locations;
}

/** @throws CacheError USAGE, NOT_FOUND */
export async function openSource(at: Location, session: Session): Promise<CacheSource> {
  const source = await backends.get(at.options.type)?.source?.(at, session);
  if (source === undefined) throw new UnsupportedType(at.options.type, 'import');
  return source;
}

/** @throws CacheError USAGE, also for healing a registry; NOT_FOUND for an image that is missing */
export async function openTarget(at: Location, session: Session, settings: TargetSettings): Promise<CacheTarget> {
  const target = await backends.get(at.options.type)?.target?.(at, session, settings);
  if (target === undefined) throw new UnsupportedType(at.options.type, 'export');
  return target;
}

/** The options of an import that reads the place of an export. */
export function importOfExport(options: CacheOptions): CacheOptions {
  const { dest, ...attributes } = options.attributes;
  return dest === undefined ? options : { ...options, attributes: { ...attributes, src: dest } };
}

/** Whether the place of an import can be listed and verified. */
export function hasStore({ type }: CacheOptions): boolean {
  return backends.get(type)?.store !== undefined;
}

/** @throws CacheError USAGE for a type without stores, NOT_FOUND */
export async function openStore(at: Location, session: Session): Promise<CacheStore> {
  const backend = backends.get(at.options.type);
  const store = await backend?.store?.(at, session);
  if (store !== undefined) return store;
  const { type } = at.options;
  if (backend?.source === undefined) throw new UnsupportedType(type, 'import');
  throw new CacheError('USAGE', `type=${type} can be copied, resolved and inspected, and no more yet`, {
    hint: 'copy the cache into a folder (bkcache copy), and name that folder',
    side: 'import',
  });
}

/** The error for a type that this version cannot import or export. */
export class UnsupportedType extends CacheError {
  constructor(type: CacheType, side: Side) {
    super('USAGE', `type=${type} is understood, but this version cannot ${side} it yet`, {
      hint: `use type=local or type=registry: ${side === 'import' ? 'let a build export there' : 'BuildKit imports from there'}`,
      side,
    });
  }
}
