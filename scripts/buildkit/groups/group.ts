import type { Bench } from '../bench.js';
import type { Verdict } from '../verdict.js';

/** One row of the table. */
export interface Check {
  readonly name: string;
  readonly run: () => Promise<Verdict>;
  /** Why this BuildKit cannot show it; the check is then not run. */
  readonly skipped?: string | undefined;
}

/** Checks that belong together. They run one after the other, for each build context. */
export interface Group {
  readonly name: string;
  readonly checks: (bench: Bench) => readonly Check[];
}
