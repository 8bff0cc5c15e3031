import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Bench } from './bench.js';
import { type Context, CONTEXT_LIST } from './contexts.js';
import { Daemon } from './daemon.js';
import type { Check, Group } from './groups/group.js';
import { GROUPS } from './groups/index.js';
import { missing } from './requirements.js';
import { hasRoot, homeFolder, makeRoot } from './root.js';
import { type Row, tableHead, tableRow } from './table.js';
import { openWorkspace } from './workspace.js';

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
  const { groups, contexts } = selection();
  // su and cron leave out the folders of mount's and debootstrap's helpers.
  process.env['PATH'] = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  const home = homeFolder();
  const lacks = await missing(!(await hasRoot(home)));
  if (lacks.length > 0) {
    say(`cannot run here:\n${lacks.map((sentence) => `  - ${sentence}`).join('\n')}`);
    return CANNOT_RUN;
  }
  for (const [name, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
    process.once(name, () => {
      process.exitCode = code;
      say('stopping');
      stop.abort(new Error(`stopped by ${name}`));
    });
  }
  const root = await makeRoot(home, say, stop.signal);
  const workspace = await openWorkspace(home, say);
  try {
    const daemon = await Daemon.start(root, workspace, stop.signal);
    try {
      const rows: Row[] = [];
      process.stdout.write(`${tableHead()}\n`);
      for (const context of contexts) {
        const folder = join(workspace.folder, context.name);
        await mkdir(folder);
        const bench = new Bench(context, daemon, root, folder, stop.signal);
        for (const group of groups) {
          for (const check of group.checks(bench)) {
            const row = await outcome(check, `${context.name}: ${check.name}`);
            process.stdout.write(`${tableRow(row)}\n`);
            rows.push(row);
            if (row.problems.length > 0) await daemon.renew();
          }
        }
      }
      const failed = rows.filter(({ problems }) => problems.length > 0).length;
      process.stdout.write(`\n${rows.length - failed} passed, ${failed} failed\n`);
      return failed === 0 && rows.length > 0 ? 0 : 1;
    } finally {
      await daemon.stop();
    }
  } finally {
    await workspace.remove();
  }
}

async function outcome({ run }: Check, name: string): Promise<Row> {
  try {
    return { name, ...(await run()) };
  } catch (error) {
    stop.signal.throwIfAborted();
    return { name, steps: 0, cached: 0, seconds: 0, problems: [(error as Error).message] };
  }
}

/** The groups and contexts that were asked for: `--only GROUP`, `--context NAME`; all by default. */
function selection(): { groups: readonly Group[]; contexts: readonly Context[] } {
  const { only, context } = namedOptions();
  return { groups: chosen(GROUPS, only), contexts: chosen(CONTEXT_LIST, context) };
}

function namedOptions(): { only?: string[] | undefined; context?: string[] | undefined } {
  try {
    const option = { type: 'string', multiple: true } as const;
    return parseArgs({ options: { only: option, context: option } }).values;
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
