import type { Bench } from '../bench.js';
import type { Build } from '../build.js';
import type { Branch } from '../contexts.js';
import { count, together, type Verdict } from '../verdict.js';
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
  const ours = await bench.copy([cache], options, 'min-of-bkcache');
  const expected = await bench.buildAll(branch, [`type=local,src=${theirs}`]);
  const found = await bench.buildAll(branch, [`type=local,src=${ours}`]);
  const verdicts = [...found].map(([target, build]) => ({
    ...count(build),
    problems: differences(expected.get(target) as Build, build),
  }));
  const verdict = together(verdicts);
  const problems = [...verdict.problems];
  // Otherwise mode=max would pass as well.
  if (verdict.cached === verdict.steps) problems.push('every step of every stage is cached, as with mode=max');
  if (verdict.cached === 0) problems.push('no step is cached');
  return { ...verdict, problems };
}

function differences(theirs: Build, ours: Build): string[] {
  const names = new Set([...theirs.steps, ...ours.steps].map(({ name }) => name));
  const said = ({ steps }: Build, name: string) => {
    const step = steps.find((step) => step.name === name);
    if (step === undefined) return 'not there';
    return step.cached ? 'cached' : 'run';
  };
  return [...names]
    .filter((name) => said(theirs, name) !== said(ours, name))
    .map((name) => `${said(ours, name)}, and with BuildKit's own cache ${said(theirs, name)}: ${name}`);
}
