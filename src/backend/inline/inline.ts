import type { CacheOptions } from '../../buildkit/options.js';
import { CacheError, type Side } from '../../errors.js';
import { openLayout } from '../../layout/layout.js';
import type { Backend, CacheTarget } from '../backend.js';
import { LATEST, localBackend } from '../local/local.js';
import { exportTag } from '../registry/export-tag.js';
import { openRegistryRepository, registryBackend } from '../registry/registry.js';

/**
 * A cache inside an image: `type=inline,ref=…` in a registry, `type=inline,src=…` or `dest=…` with `tag=…` in a folder.
 * An import is read from the place of the image: see `imageImport`.
 */
export const inlineBackend: Backend = {
  async locate(options, side) {
    checkPlace(options, side);
    const isRegistry = options.attributes['ref'] !== undefined;
    const place = isRegistry ? registryBackend : localBackend;
    if (side === 'import') {
      const at = await place.locate(imageImport(options), side);
      return { ...at, selection: options.attributes['digest'] ?? at.selection };
    }
    const at = await place.locate(options, side);
    // An inline export may write to the place of its import: the import reads layers of the same image.
    return { ...at, path: undefined };
  },
  async target(at, session, settings) {
    const { ref, tag = LATEST } = at.options.attributes;
    const { inlineTarget } = await import('./inline-target.js');
    return onExport(async () => {
      if (ref !== undefined) {
        const repository = await openRegistryRepository(at, session, 'export');
        return inlineTarget(repository, exportTag(ref), session.signal);
      }
      const { layoutRepository } = await import('../local/layout-repository.js');
      const layout = await openLayout(at.name, session.layout);
      return inlineTarget(layoutRepository(layout, settings.sharing), tag, session.signal);
    });
  },
};

/**
 * The options that BuildKit understands for an inline import. BuildKit has no such import type: it looks for a cache in the
 * image of type=registry or type=local.
 *
 * @throws CacheError USAGE for attributes that do not go together
 */
function imageImport(options: CacheOptions): CacheOptions {
  const { ref, digest, ...others } = options.attributes;
  if (ref === undefined) return { type: 'local', attributes: options.attributes };
  return { type: 'registry', attributes: { ref: digest === undefined ? ref : `${ref}@${digest}`, ...others } };
}

/** An image is in a registry or in a folder; the attributes of the two exclude each other. */
function checkPlace({ attributes }: CacheOptions, side: Side): void {
  const folder = side === 'import' ? 'src' : 'dest';
  if (attributes['ref'] === undefined) return;
  const stranger = [folder, 'tag'].find((name) => attributes[name] !== undefined);
  if (stranger === undefined) return;
  const hint =
    stranger === 'tag' ? 'a reference has its tag in it: ref=host/name:tag' : `name ref= or ${folder}=, not both`;
  throw new CacheError('USAGE', `type=inline has no ${stranger}= together with ref=`, { hint, side });
}

/** Says of an error that has no side that it is of the export. */
async function onExport(open: () => Promise<CacheTarget>): Promise<CacheTarget> {
  try {
    return await open();
  } catch (error) {
    throw error instanceof CacheError ? error.on('export') : error;
  }
}
