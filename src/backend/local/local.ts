import { type CacheOptions, flag } from '../../buildkit/options.js';
import { CacheError } from '../../errors.js';
import { writingTo } from '../../layout/files/disk-error.js';
import { type Layout, openLayout } from '../../layout/layout.js';
import { parseDigest } from '../../oci/digest.js';
import type { Session } from '../../session.js';
import type { Backend, CacheTarget } from '../backend.js';
import { layoutReader } from './layout-reader.js';
import { repositorySource } from '../repository/repository-source.js';
import { realPath } from './real-path.js';

/** BuildKit's default tag: client/solve.go. */
export const LATEST = 'latest';

/** A cache in a folder: `type=local,src=…[,digest=…][,tag=…]` and `type=local,dest=…[,tag=…]`. */
export const localBackend: Backend = {
  async locate(options, side) {
    const { digest, tag = LATEST } = options.attributes;
    const name = options.attributes[side === 'import' ? 'src' : 'dest'] ?? '';
    const path = await realPath(name);
    const key = digest === undefined ? `${path}, tag ${tag}` : undefined;
    return { options, name, selection: digest ?? tag, key, path };
  },
  async source({ name, options: { attributes } }, session) {
    const { digest, tag = LATEST } = attributes;
    const reference = digest === undefined ? { tag } : { digest: parseDigest(digest, 'digest=') };
    return repositorySource(name, async () => layoutReader(await openLayout(name, session.layout)), reference, session);
  },
  reader: async ({ name }, session) => layoutReader(await openLayout(name, session.layout)),
  repository: async ({ name }, session, { sharing }) => {
    const { layoutRepository } = await import('./layout-repository.js');
    return layoutRepository(await layoutOf(name, session), sharing);
  },
  async target({ name, options }, session, settings) {
    const { tag = LATEST } = options.attributes;
    const [{ layoutRepository }, { repositoryTarget }] = await Promise.all([
      import('./layout-repository.js'),
      import('../repository/repository-target.js'),
    ]);
    const layout = await layoutOf(name, session);
    const target = repositoryTarget(layoutRepository(layout, settings.sharing), tag, settings);
    return flag(options, 'reset') === true ? withReset(target, layout, tag) : target;
  },
  tagged: withTagAttribute,
  async store({ name }, { layout }) {
    const { folderStore } = await import('./folder-store.js');
    return folderStore(await openLayout(name, layout));
  },
};

/** The options with a tag, where they have none. */
export function withTagAttribute(options: CacheOptions, tag: string): CacheOptions {
  const { attributes } = options;
  return attributes['tag'] === undefined ? { ...options, attributes: { ...attributes, tag } } : options;
}

async function layoutOf(root: string, session: Session): Promise<Layout> {
  const { createLayout } = await import('../../layout/create-layout.js');
  return writingTo(root, () => createLayout(root, session.layout));
}

/**
 * `reset=true`: what nothing refers to goes once the export is done. BuildKit deletes all of it (client/solve.go,
 * resetCacheStore), with what others are writing; here that has a period of grace, and what the tag stood for has none.
 */
function withReset(target: CacheTarget, layout: Layout, tag: string): CacheTarget {
  return {
    ...target,
    async publish(cache, signal) {
      const [{ gc }, { markTag }] = await Promise.all([
        import('../../layout/gc/gc.js'),
        import('../../layout/gc/usage.js'),
      ]);
      const former = await markTag(layout, tag, signal);
      const descriptor = await target.publish(cache, signal);
      try {
        await gc(layout, { former, signal });
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
