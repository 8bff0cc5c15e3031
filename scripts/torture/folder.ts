import { CacheError } from '../../src/errors.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { copyFixture, OLD, setTimes, tagsOf } from '../../test/support/folders.js';

// In milliseconds, on a machine with much else to do.
const PATIENCE = 30_000;

/** Fails the torture, with everything that is needed to look into it. */
export function insist(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** Insists that something works, or fails with an error that is meant for people, and soon. */
export async function expectCacheError(act: () => Promise<unknown>, where: string): Promise<void> {
  const start = performance.now();
  try {
    await act();
  } catch (error) {
    insist(error instanceof CacheError, `${where}: ${(error as Error).stack ?? String(error)}`);
  }
  insist(performance.now() - start < PATIENCE, `${where}: it took ${performance.now() - start} ms`);
}

/** Copies a folder with two tags, and older blobs that no tag needs, to a place. */
export function grownFolder(folder: string): void {
  copyFixture('grown', folder);
  setTimes(folder, OLD);
}

/** Insists that a folder is sound, and has some tags. */
export async function insistSound(folder: string, tags: readonly string[], where: string): Promise<void> {
  const { findings } = await verifyFolder(folder, { deep: true });
  const wrong = findings.filter(({ severity }) => severity === 'corrupt');
  insist(wrong.length === 0, `${where}: ${JSON.stringify(wrong)}`);
  const there = tagsOf(folder);
  for (const tag of tags) insist(there.includes(tag), `${where}: the tag ${tag} is gone`);
}
