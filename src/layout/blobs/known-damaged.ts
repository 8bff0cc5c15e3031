import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { namesIn } from './blob-list.js';
import { exists, makeFolder, writeNewFile } from '../files/durable.js';
import { digestOfName, portableName } from '../files/portable-name.js';
import { WORKSPACE_FOLDER } from '../workspace/workspace.js';

const PREFIX = 'damaged.';

/**
 * The digests whose files verify has found to be damaged, each an empty file in `.bkcache`. A writer that needs such a
 * blob looks at its bytes before it relies on them, and replaces them when they are wrong.
 */
export class KnownDamaged {
  readonly #folder: string;

  constructor(root: string) {
    this.#folder = join(root, WORKSPACE_FOLDER);
  }

  async has(digest: Digest): Promise<boolean> {
    for (const path of this.#paths(digest)) if (await exists(path)) return true;
    return false;
  }

  async list(): Promise<ReadonlySet<Digest>> {
    return new Set((await this.marks()).keys());
  }

  /** The files that mark a digest. */
  async marks(): Promise<ReadonlyMap<Digest, readonly string[]>> {
    const marks = new Map<Digest, string[]>();
    for (const name of await namesIn(this.#folder)) {
      const digest = name.startsWith(PREFIX) ? digestOfName(name.slice(PREFIX.length)) : undefined;
      if (digest !== undefined) marks.set(digest, [...(marks.get(digest) ?? []), join(this.#folder, name)]);
    }
    return marks;
  }

  // Where nothing may be written, neither does anything: verify is for folders of others, too.

  async add(digest: Digest): Promise<void> {
    try {
      await makeFolder(this.#folder, { durable: false, inherit: 'shared' });
      await writeNewFile(this.#paths(digest)[0], new Uint8Array(), { durable: false });
    } catch (error) {
      if (!isSystemError(error, 'EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'ENOENT', 'EEXIST')) throw error;
    }
  }

  async remove(digest: Digest): Promise<void> {
    // Hardly any blob is marked: to look for a file costs less than to fail to remove it.
    if (!(await this.has(digest))) return;
    try {
      for (const path of this.#paths(digest)) await rm(path, { force: true });
    } catch (error) {
      if (!isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) throw error;
    }
    await rmdir(this.#folder).catch(() => undefined);
  }

  /** The path of a mark, and the one that older releases gave it. */
  #paths(digest: Digest): readonly [string, string] {
    return [join(this.#folder, PREFIX + portableName(digest)), join(this.#folder, PREFIX + digest)];
  }
}
