import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Bench } from './bench.js';
import { CONTEXT_LIST } from './contexts.js';
import { Daemon } from './daemon.js';
import type { Check } from './groups/group.js';
import { GROUPS } from './groups/index.js';
import { missing } from './requirements.js';
import { DEFAULT_SUITE, homeFolder, isMade, makeRoot, rootFolder } from './root.js';
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
  const { groups, contexts, suite } = selection();
  // su and cron leave out the folders of mount's and debootstrap's helpers.
  process.env['PATH'] = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  const home = homeFolder();
  const root = rootFolder(home, suite);
  const lacks = await missing(!(await isMade(root)));
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
  await makeRoot(root, suite, say, stop.signal);
  const workspace = await openWorkspace(home, say);
  try {
    const daemon = await Daemon.start(root, workspace, stop.signal);
    try {
      say(await daemon.version());
      const rows: Row[] = [];
      process.stdout.write(`${tableHead()}\n`);
      for (const context of contexts) {
        const folder = join(workspace.folder, context.name);
        await mkdir(folder);
        const bench = new Bench(context, daemon, root, folder, stop.signal);
        try {
          for (const group of groups) {
            for (const check of group.checks(bench)) {
              const row = await outcome(check, `${context.name}: ${check.name}`);
              process.stdout.write(`${tableRow(row)}\n`);
              rows.push(row);
              if (row.problems.length > 0) await daemon.renew();
            }
          }
        } finally {
          await bench.end();
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

/** What was asked for: `--only GROUP`, `--context NAME`, all by default; `--suite` names another Debian release. */
function selection() {
  const { only, context, suite } = namedOptions();
  if (!/^[a-z]+$/.test(suite)) throw new UsageError(`${suite} is not the name of a Debian release`);
  return { groups: chosen(GROUPS, only), contexts: chosen(CONTEXT_LIST, context), suite };
}

function namedOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', multiple: true },
        context: { type: 'string', multiple: true },
        suite: { type: 'string', default: DEFAULT_SUITE },
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
