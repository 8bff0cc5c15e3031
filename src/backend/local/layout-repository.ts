import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import type { Sharing } from '../../layout/blobs/share.js';
import { writingTo } from '../../layout/files/disk-error.js';
import { updateIndex } from '../../layout/index/index-file.js';
import { withTag } from '../../layout/index/index-json.js';
import { isStore, recordUse, usedNow } from '../../layout/index/last-used.js';
import type { Layout } from '../../layout/layout.js';
import { contentOf } from '../../oci/content.js';
import { layoutConversions } from '../repository/conversion-memory.js';
import { presentOf } from '../repository/present.js';
import { readingImport, sourceOf } from '../repository/import-bytes.js';
import type { Repository } from '../repository/repository.js';
import { layoutReader } from './layout-reader.js';

/** A layout on disk as a repository to write to. */
export function layoutRepository(layout: Layout, sharing: Sharing): Repository {
  const { root } = layout;
  const leased = new LeasedBlobs(layout);
  const write: Repository['write'] = (content, expected, signal) =>
    readingImport(() =>
      writingTo(root, () =>
        leased.write(content, expected, { where: sourceOf(content) ?? root, sharing, ...(signal ? { signal } : {}) }),
      ),
    );
  return {
    ...layoutReader(layout),
    conversions: layoutConversions(layout, leased),
    async present(list, signal) {
      await leased.lease.add(list.map(({ digest }) => digest));
      return presentOf(list, (blob, inner) => leased.has(blob, inner), signal);
    },
    write,
    publish: ({ descriptor, bytes }, tag, signal) =>
      writingTo(root, async () => {
        // In this order they survive a power cut: what a manifest names, the manifest, and then what names that.
        await leased.sync();
        if (await leased.has(descriptor, signal)) await recordUse(layout, descriptor, undefined, signal);
        else await write(contentOf(bytes), descriptor, signal);
        await leased.sync();
        if (tag === undefined) return;
        const entry = (await isStore(root)) ? usedNow(descriptor) : descriptor;
        await updateIndex(layout, (index) => withTag(index, tag, entry), { leased, signal });
      }),
    async [Symbol.asyncDispose]() {
      await leased[Symbol.asyncDispose]();
      await layout[Symbol.asyncDispose]();
    },
  };
}
