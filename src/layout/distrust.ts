import { rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../errors.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { namesIn } from './blob-list.js';
import { exists, makeFolder } from './durable.js';
import { WORKSPACE_FOLDER } from './workspace.js';

/**
 * The digests whose files verify has found to be damaged, each an empty file in `.bkcache`. A writer that needs such a
 * blob looks at its bytes before it relies on them, and replaces them when they are wrong.
 */
export class Distrust {
  readonly #folder: string;

  constructor(root: string) {
    this.#folder = join(root, WORKSPACE_FOLDER);
  }

  async has(digest: Digest): Promise<boolean> {
    return exists(this.#path(digest));
  }

  async list(): Promise<ReadonlySet<Digest>> {
    const names = await namesIn(this.#folder);
    return new Set(names.map((name) => name.replace(/^damaged\./, '')).filter(isDigest));
  }

  // Where nothing may be written, neither does anything: verify is for folders of others, too.

  async add(digest: Digest): Promise<void> {
    try {
      await makeFolder(this.#folder, { durable: false });
      await writeFile(this.#path(digest), '');
    } catch (error) {
      if (!isSystemError(error, 'EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'ENOENT')) throw error;
    }
  }

  async remove(digest: Digest): Promise<void> {
    try {
      await rm(this.#path(digest), { force: true });
    } catch (error) {
      if (!isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) throw error;
    }
    await rmdir(this.#folder).catch(() => undefined);
  }

  #path(digest: Digest): string {
    return join(this.#folder, `damaged.${digest}`);
  }
}
