import type { Bench } from '../bench.js';
import type { Branch } from '../contexts.js';
import { diffIDsIn } from '../layout.js';
import { asUseful, type Verdict } from '../verdict.js';
import type { Check, Group } from './group.js';

/** What bkcache keeps for mode=min serves the same steps as what BuildKit exports with mode=min. */
export const min: Group = {
  name: 'min',
  checks(bench) {
    const check = (name: string, options: string, branch: Branch): Check => ({
      name: `min, ${name}`,
      run: () => compare(bench, options, branch),
    });
    return [
      check('same sources', 'mode=min', 'main'),
      check('same sources, zstd', 'mode=min,compression=zstd,force-compression=true', 'main'),
      check('changed sources', 'mode=min', 'feature'),
    ];
  },
};

async function compare(bench: Bench, options: string, branch: Branch): Promise<Verdict> {
  const { cache } = await bench.first('main');
  const theirs = bench.path('min-of-buildkit');
  await bench.build('main', { cacheTo: [`type=local,dest=${theirs},mode=min`] });
  await bench.join(theirs);
  const ours = await bench.copy([cache], options, 'min-of-bkcache');
  const [before, kept, keptByThem] = [await layersIn(cache), await layersIn(ours), await layersIn(theirs)];
  const problems = kept === keptByThem ? [] : [`it has ${kept} layers, and BuildKit's own ${keptByThem} of ${before}`];
  const expected = await bench.buildAll(branch, [`type=local,src=${theirs}`]);
  const found = await bench.buildAll(branch, [`type=local,src=${ours}`]);
  const verdict = asUseful(expected, found, bench.context.forgetful);
  return { ...verdict, problems: [...problems, ...verdict.problems] };
}

async function layersIn(folder: string): Promise<number> {
  return new Set(await diffIDsIn(folder, 'latest')).size;
}
