import type { Bench } from '../bench.js';
import { BRANCHES } from '../contexts.js';
import type { Group } from './group.js';

/**
 * The caches of two branches, merged by one copy, serve each of them. Steps that both branches have in common ran twice,
 * and the merged cache has both results.
 */
export const merging: Group = {
  name: 'merging',
  checks: (bench) =>
    [
      { name: 'merged', options: '' },
      { name: 'merged and converted', options: 'compression=zstd,force-compression=true' },
    ].flatMap(({ name, options }) => {
      let merged: Promise<string> | undefined;
      return BRANCHES.map((branch) => ({
        name: `${name}, ${branch}`,
        run: async () => bench.whole(branch, `type=local,src=${await (merged ??= merge(bench, options))}`, 'files'),
      }));
    }),
};

async function merge(bench: Bench, options: string): Promise<string> {
  const caches: string[] = [];
  for (const branch of BRANCHES) caches.push((await bench.first(branch)).cache);
  return bench.copy(caches, options, 'merged');
}
