import { checkCall } from '../calls.js';
import { openSource, type ReadOptions } from '../backend/open.js';
import { readImport } from '../backend/option-string.js';
import { abortable } from '../errors.js';
import { withRegistries } from '../net/registry/registries.js';
import type { Descriptor } from '../oci/descriptor.js';

/**
 * The manifest that BuildKit would take for an import string.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function resolveCache(text: string, access: ReadOptions = {}): Promise<Descriptor> {
  checkCall('resolveCache', { text, options: access });
  const { registry, layout, signal, onNote } = access;
  const options = await readImport(text, onNote);
  return abortable(signal, () =>
    withRegistries(registry, async (registries) => (await openSource(options, registries, layout)).resolve(signal)),
  );
}
