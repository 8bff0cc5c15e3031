import type { Build, Builds } from './build.js';
import { imageDifferences, type Likeness } from './image.js';
import { knownSteps, stepsOf } from './progress.js';
import { CommandError, lastLines } from './run.js';

/** What came out of one check. */
export interface Verdict {
  readonly steps: number;
  readonly cached: number;
  readonly seconds: number;
  /** What is not as it should be; nothing when all is well. */
  readonly problems: readonly string[];
  /** What is worth a word when all is well. */
  readonly note?: string;
}

/**
 * Judges a build that was to run nothing, and to come to the image of the first one.
 *
 * @param made - the diffIDs that builds without a cache came to
 */
export async function judge(first: Build, again: Build, like: Likeness, made: ReadonlySet<string>): Promise<Verdict> {
  const ran = again.steps.filter(({ cached }) => !cached);
  const problems = ran.map(({ name, said }) => `not cached: ${name} (${said})`);
  if (again.steps.length === 0) problems.push('the build has no steps');
  if (again.steps.length !== first.steps.length) {
    problems.push(`the build has ${again.steps.length} steps, and the first one had ${first.steps.length}`);
  }
  problems.push(...(await imageDifferences(first.image, again.image, like, made)));
  return { ...count(again), problems };
}

/** The numbers of a build. */
export function count({
  steps,
  seconds,
}: Pick<Build, 'steps' | 'seconds'>): Pick<Verdict, 'steps' | 'cached' | 'seconds'> {
  return { steps: steps.length, cached: steps.filter(({ cached }) => cached).length, seconds };
}

/** Several verdicts as one. */
export function together(verdicts: readonly Verdict[]): Verdict {
  const sum = (field: 'steps' | 'cached' | 'seconds') => verdicts.reduce((total, verdict) => total + verdict[field], 0);
  return {
    steps: sum('steps'),
    cached: sum('cached'),
    seconds: sum('seconds'),
    problems: verdicts.flatMap(({ problems }) => problems),
  };
}

/**
 * Judges builds from a cache that was to serve the same steps as one of BuildKit's own, and some of them at least.
 *
 * @param mayServeMore - whether it may serve other steps, too
 */
export function asUseful(theirs: Builds, ours: Builds, mayServeMore = false): Verdict {
  const verdict = together(
    [...ours].map(([target, build]) => ({
      ...count(build),
      problems: differences(theirs.get(target) as Build, build, mayServeMore),
    })),
  );
  return verdict.cached > 0 ? verdict : { ...verdict, problems: [...verdict.problems, 'no step is cached'] };
}

function differences(theirs: Build, ours: Build, mayServeMore: boolean): string[] {
  const names = new Set([...theirs.steps, ...ours.steps].map(({ name }) => name));
  const said = ({ steps }: Build, name: string) => {
    const step = steps.find((step) => step.name === name);
    if (step === undefined) return 'not there';
    return step.cached ? 'cached' : 'run';
  };
  return [...names]
    .filter((name) => said(theirs, name) !== said(ours, name))
    .filter((name) => !(mayServeMore && said(theirs, name) === 'run' && said(ours, name) === 'cached'))
    .map((name) => `${said(ours, name)}, and with BuildKit's own cache ${said(theirs, name)}: ${name}`);
}

/** Judges a build that was to get nothing out of its cache. */
export function unused(build: Build): Verdict {
  const problems = knownSteps(build.steps).map(({ name }) => `cached: ${name}`);
  if (build.steps.length === 0) problems.push('the build has no steps');
  return { ...count(build), problems, note: 'nothing is cached, as it should be' };
}

/**
 * Turns a check round: something is wrong on purpose, and the check has to say so, or the build has to fail over it.
 *
 * @param signs - one of them has to occur in what is said
 */
export async function noticed(check: Promise<Verdict>, ...signs: readonly string[]): Promise<Verdict> {
  const start = performance.now();
  const verdict = await check.catch((error: unknown): Verdict => {
    if (!(error instanceof CommandError)) throw error;
    const seconds = (performance.now() - start) / 1000;
    return { ...count({ steps: stepsOf(error.output.stderr), seconds }), problems: [lastLines(error.message, 1)] };
  });
  const problem = verdict.problems.find((text) => signs.some((sign) => text.includes(sign)));
  if (problem !== undefined) return { ...verdict, problems: [], note: `noticed: ${problem}` };
  const said = verdict.problems.length === 0 ? 'nothing' : verdict.problems.join('; ');
  return { ...verdict, problems: [`what is wrong here was not noticed: the check says ${said}`] };
}
