import type { CacheOptions } from '../../buildkit/options.js';
import { CacheError, type Side } from '../../errors.js';
import { openLayout } from '../../layout/layout.js';
import type { Registries } from '../../net/registry/registries.js';
import type { CacheTarget, TargetSettings } from '../backend.js';
import { exportTag } from '../registry/export-tag.js';
import { layoutRepository } from '../local/layout-repository.js';
import { LATEST } from '../local/local.js';
import { onSide } from '../sides.js';

/**
 * The string that BuildKit knows for an inline import. It has no such type: it looks into the image that a registry or
 * a folder has under a name. Other imports come back as they are.
 *
 * @throws CacheError USAGE for attributes that do not go together
 */
export function imageImport(options: CacheOptions): CacheOptions {
  if (options.type !== 'inline') return options;
  checkPlace(options, 'import');
  const { ref, digest, ...others } = options.attributes;
  if (ref === undefined) return { type: 'local', attributes: options.attributes };
  return { type: 'registry', attributes: { ref: digest === undefined ? ref : `${ref}@${digest}`, ...others } };
}

/**
 * Whether an inline export can be one, whatever image it names.
 *
 * @throws CacheError USAGE
 */
export function checkInlineExport(options: CacheOptions): void {
  checkPlace(options, 'export');
}

/**
 * The image to put a cache into: `type=inline,ref=…` in a registry, `type=inline,dest=FOLDER[,tag=…]` in a folder.
 *
 * @throws CacheError USAGE, NOT_FOUND when there is no such image
 */
export async function openInlineTarget(
  options: CacheOptions,
  registries: Registries,
  settings: TargetSettings,
): Promise<CacheTarget> {
  checkInlineExport(options);
  const { ref, dest = '', tag = LATEST } = options.attributes;
  const { inlineTarget } = await import('./inline-target.js');
  return onSide('export', async () => {
    if (ref === undefined)
      return inlineTarget(
        layoutRepository(await openLayout(dest, settings.layout), settings.sharing),
        tag,
        settings.signal,
      );
    const { registryRepositoryOf } = await import('../registry/registry.js');
    return inlineTarget(await registryRepositoryOf(options, registries, 'export'), exportTag(ref), settings.signal);
  });
}

/** An image is in a registry or in a folder, and each has attributes of its own. */
function checkPlace({ attributes }: CacheOptions, side: Side): void {
  const folder = side === 'import' ? 'src' : 'dest';
  if (attributes['ref'] === undefined) return;
  const stranger = [folder, 'tag'].find((name) => attributes[name] !== undefined);
  if (stranger === undefined) return;
  const hint =
    stranger === 'tag' ? 'a reference has its tag in it: ref=host/name:tag' : `name ref= or ${folder}=, not both`;
  throw new CacheError('USAGE', `type=inline has no ${stranger}= beside ref=`, { hint, side });
}
