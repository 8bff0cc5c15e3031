import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { collectGarbage } from '../../src/operations/gc.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { CacheError } from '../../src/errors.js';
import { prune } from '../../src/operations/prune/prune.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { listCaches } from '../../src/operations/list.js';
import {
  DAMAGED,
  type Damage,
  filesOf,
  flip,
  isFound,
  isFreeText,
  remove,
  replaceByLink,
  swap,
  truncate,
} from '../../test/support/damage.js';
import { copyFixture } from '../../test/support/folders.js';
import { insist } from './folder.js';
import type { Random } from './random.js';

/** One random change to a copy of each folder: verify finds it, and nothing else breaks on it. */
export async function damageRound(random: Random, work: string): Promise<Record<string, number>> {
  for (const name of DAMAGED) {
    const folder = join(work, 'damage', name);
    mkdirSync(folder, { recursive: true });
    copyFixture(name, folder);
    const { what, undo } = damageBy(random, folder);
    insist(await isFound(folder), `verify has not found that in ${name} ${what}`);
    await survives(folder, join(work, 'damage', 'out'), `${name} with ${what}`);
    undo();
    rmSync(join(work, 'damage'), { recursive: true });
  }
  return { damage: DAMAGED.length };
}

function damageBy(random: Random, folder: string): Damage {
  const files = filesOf(folder);
  const path = random.pick(files);
  const bytes = readFileSync(join(folder, path));
  const kind = random.below(5);
  const blobs = files.filter((file) => file.startsWith('blobs'));
  if (kind === 0) return truncate(folder, path, random.below(bytes.length));
  // A blob that nothing refers to can go without harm.
  if (kind === 1 && !folder.endsWith('grown')) return remove(folder, path);
  if (kind === 2) {
    const a = random.pick(blobs);
    return swap(folder, a, random.pick(blobs.filter((blob) => blob !== a)));
  }
  if (kind === 3) return replaceByLink(folder, random.pick(blobs));
  const places = [...bytes.keys()].filter((at) => path !== 'index.json' || !isFreeText(bytes, at));
  return flip(folder, path, random.pick(places), 1 << random.below(8));
}

/** Everything else either works on a damaged folder or says why not; nothing is changed in it. */
async function survives(folder: string, out: string, where: string): Promise<void> {
  const acts: Readonly<Record<string, () => Promise<unknown>>> = {
    list: () => listCaches(folder),
    inspect: () => inspectCache(`type=local,src=${folder}`),
    copy: () =>
      copyCache({
        imports: [`type=local,src=${folder}`],
        exports: [`type=local,dest=${out},compression=zstd,force-compression=true`],
      }),
    gc: () => collectGarbage(folder),
    prune: () => prune(folder, { maxSize: 1000, dryRun: true }),
  };
  for (const [name, act] of Object.entries(acts)) {
    try {
      await act();
    } catch (error) {
      insist(error instanceof CacheError, `${name} on ${where}: ${(error as Error).stack ?? String(error)}`);
    }
  }
}
