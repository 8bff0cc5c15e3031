import type { Bench } from '../bench.js';
import type { Branch } from '../contexts.js';
import type { Check, Group } from './group.js';

/** BuildKit imports straight from the store. */
export const store: Group = {
  name: 'store',
  checks(bench) {
    const folder = bench.path('store');
    const check = (branch: Branch): Check => ({
      name: `store, tag=${branch}`,
      run: async () => {
        await keep(bench, folder, branch);
        return bench.whole(branch, `type=local,src=${folder},tag=${branch}`);
      },
    });
    // The last one finds what the second import has left of the first.
    return [check('main'), check('feature'), { ...check('main'), name: 'store, tag=main again' }];
  },
};

async function keep(bench: Bench, folder: string, branch: Branch): Promise<void> {
  const { cache } = await bench.first(branch);
  await bench.bkcache('import', branch, '--store', folder, '--import-cache', cache);
}
