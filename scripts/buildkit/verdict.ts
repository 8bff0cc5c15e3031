import type { Build } from './build.js';
import { imageDifferences, type Likeness } from './image.js';

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

/** Judges a build that was to run nothing, and to come to the image of the first one. */
export async function judge(first: Build, again: Build, like: Likeness = 'diffIDs'): Promise<Verdict> {
  const ran = again.steps.filter(({ cached }) => !cached);
  const problems = ran.map(({ name }) => `not cached: ${name}`);
  if (again.steps.length === 0) problems.push('the build has no steps');
  if (again.steps.length !== first.steps.length) {
    problems.push(`the build has ${again.steps.length} steps, and the first one had ${first.steps.length}`);
  }
  problems.push(...(await imageDifferences(first.image, again.image, like)));
  return { ...count(again), problems };
}

/** The numbers of a build. */
export function count({ steps, seconds }: Build): Pick<Verdict, 'steps' | 'cached' | 'seconds'> {
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
