import { locate, openSource } from '../../src/backend/backends.js';
import type { Cache } from '../../src/backend/backend.js';
import { Session } from '../../src/session.js';

/** The cache that a folder has under a tag; `latest` by default. */
export async function loadFolder(folder: string, tag?: string): Promise<Cache> {
  const attributes = { src: folder, ...(tag === undefined ? {} : { tag }) };
  await using session = new Session();
  const source = await openSource(await locate({ type: 'local', attributes }, 'import', session), session);
  return await source.load();
}
