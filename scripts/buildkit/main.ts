import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Bench } from './bench.js';
import { type Context, CONTEXT_LIST } from './contexts.js';
import type { Check, Group } from './groups/group.js';
import { GROUPS } from './groups/index.js';
import { buildkitd, dockerd, type Judge } from './judges.js';
import { homeFolder } from './kept.js';
import { DEFAULT_SUITE } from './root.js';
import { type Row, skippedRow, tableHead, tableRow } from './table.js';
import { openWorkspace, type Workspace } from './workspace.js';

// Imports what bkcache writes into BuildKit, and says what BuildKit made of it. docs/buildkit.md has more.

/** The exit code for a machine on which this cannot run. */
const CANNOT_RUN = 77;

class UsageError extends Error {}

const stop = new AbortController();
const say = (text: string) => process.stderr.write(`test:buildkit: ${text}\n`);

process.exitCode = await main().catch((error: unknown) => {
  if (process.exitCode !== undefined) return process.exitCode;
  say(error instanceof UsageError ? error.message : ((error as Error).stack ?? String(error)));
  return error instanceof UsageError ? 2 : 1;
});

async function main(): Promise<number> {
  // su and cron leave out the folders of mount's and debootstrap's helpers.
  process.env['PATH'] = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  const home = homeFolder();
  const { groups, contexts, judge } = await selection(home);
  const lacks = await judge.lacks();
  if (lacks.length > 0) return cannotRun(lacks);
  for (const [name, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
    process.once(name, () => {
      process.exitCode = code;
      say('stopping');
      stop.abort(new Error(`stopped by ${name}`));
    });
  }
  try {
    await judge.prepare(say, stop.signal);
  } catch (error) {
    stop.signal.throwIfAborted();
    return cannotRun([(error as Error).message]);
  }
  const workspace = await openWorkspace(home, say);
  try {
    process.stdout.write(`${tableHead()}\n`);
    const start = performance.now();
    const { rows, skipped, imports } = await judged({ groups, contexts, judge, workspace });
    const failed = rows.filter(({ problems }) => problems.length > 0).length;
    const kinds = [...imports].map(([name, count]) => `${name} ${count}`).join(', ');
    const minutes = ((performance.now() - start) / 60_000).toFixed(1);
    const result = `${rows.length - failed} passed, ${failed} failed, ${skipped} skipped, in ${minutes} minutes`;
    process.stdout.write(`\n${result}\n`);
    process.stdout.write(`builds from a cache: ${kinds}\n`);
    return failed === 0 && rows.length > 0 ? 0 : 1;
  } finally {
    await workspace.remove();
  }
}

interface Run {
  readonly groups: readonly Group[];
  readonly contexts: readonly Context[];
  readonly judge: Judge;
  readonly workspace: Workspace;
}

/** What came out of a run. */
interface Outcome {
  readonly rows: readonly Row[];
  /** How many checks this BuildKit cannot show. */
  readonly skipped: number;
  /** How many builds imported a cache, by the name of the group. */
  readonly imports: ReadonlyMap<string, number>;
}

/** Runs the checks of several contexts at a time, each with a builder of its own. */
async function judged({ groups, contexts, judge, workspace }: Run): Promise<Outcome> {
  const rows: Row[] = [];
  let skipped = 0;
  let named = false;
  const imports = new Map(groups.map(({ name }) => [name, 0]));
  const busybox = await judge.busybox();
  const left = [...contexts];
  const work = async () => {
    for (let context = left.shift(); context !== undefined; context = left.shift()) {
      const folder = join(workspace.folder, context.name);
      await mkdir(folder);
      const builder = await judge.start({ ...workspace, folder }, stop.signal);
      if (!named) say(builder.name);
      named = true;
      const bench = new Bench(context, builder, busybox, folder, stop.signal);
      try {
        for (const group of groups) {
          const before = bench.imports;
          for (const check of group.checks(bench)) {
            const name = `${context.name}: ${check.name}`;
            if (check.skipped === undefined) {
              const row = await outcome(check, name);
              process.stdout.write(`${tableRow(row)}\n`);
              rows.push(row);
              if (row.problems.length > 0) await builder.renew();
            } else {
              process.stdout.write(`${skippedRow(name, check.skipped)}\n`);
              skipped += 1;
            }
          }
          imports.set(group.name, (imports.get(group.name) ?? 0) + bench.imports - before);
        }
      } finally {
        await bench.end();
        await builder.stop();
      }
    }
  };
  const all = await Promise.allSettled(Array.from({ length: availableParallelism() }, work));
  for (const one of all) if (one.status === 'rejected') throw one.reason;
  return { rows, skipped, imports };
}

function cannotRun(reasons: readonly string[]): number {
  say(`cannot run here:\n${reasons.map((sentence) => `  - ${sentence}`).join('\n')}`);
  return CANNOT_RUN;
}

async function outcome({ run }: Check, name: string): Promise<Row> {
  try {
    return { name, ...(await run()) };
  } catch (error) {
    stop.signal.throwIfAborted();
    return { name, steps: 0, cached: 0, seconds: 0, problems: [(error as Error).message] };
  }
}

/** What was asked for: `--only GROUP`, `--context NAME`, all by default; `--judge` and `--suite` name a BuildKit. */
async function selection(home: string) {
  const { only, context, suite, judge } = namedOptions();
  return { groups: chosen(GROUPS, only), contexts: chosen(CONTEXT_LIST, context), judge: await judgeOf() };

  async function judgeOf(): Promise<Judge> {
    if (judge === 'dockerd') {
      if (!/^[a-z]+$/.test(suite ?? DEFAULT_SUITE))
        throw new UsageError(`${suite} is not the name of a Debian release`);
      return dockerd(home, suite ?? DEFAULT_SUITE);
    }
    if (judge !== 'buildkitd') throw new UsageError(`there is no judge ${judge}; there are dockerd, buildkitd`);
    if (suite !== undefined) throw new UsageError('--suite goes with the judge dockerd');
    const folder = process.env['BKCACHE_BUILDKIT_BIN'];
    return buildkitd(home, folder === '' ? undefined : folder).catch((error: unknown) => {
      throw new UsageError(`BKCACHE_BUILDKIT_BIN: ${(error as Error).message}`);
    });
  }
}

function namedOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', multiple: true },
        context: { type: 'string', multiple: true },
        judge: { type: 'string', default: 'dockerd' },
        suite: { type: 'string' },
      },
    });
    return values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function chosen<T extends { readonly name: string }>(
  all: readonly T[],
  names: readonly string[] | undefined,
): readonly T[] {
  const known = all.map(({ name }) => name);
  const unknown = names?.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new UsageError(`there is no ${unknown}; there are ${known.join(', ')}`);
  return names === undefined ? all : all.filter(({ name }) => names.includes(name));
}
