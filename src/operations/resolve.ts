import { checkCall } from '../calls.js';
import { locate, openSource } from '../backend/backends.js';
import { readImport } from '../backend/option-string.js';
import { abortable } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { Session, type SessionOptions } from '../session.js';

/**
 * The manifest that BuildKit would take for an import string.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function resolveCache(text: string, access: SessionOptions = {}): Promise<Descriptor> {
  checkCall('resolveCache', { text, options: access });
  const { signal, onNote } = access;
  const options = await readImport(text, onNote);
  return abortable(signal, async () => {
    await using session = new Session(access);
    const source = await openSource(await locate(options, 'import', session), session);
    return await source.resolve(signal);
  });
}
