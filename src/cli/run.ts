import { CacheError, exitCode, isSystemError } from '../errors.js';
import { native } from '../layout/files/native-exit.js';
import { type Command, readCommandLine } from './command-line.js';

let command: Command | undefined;

async function fail(error: unknown): Promise<never> {
  // What the message needs could not be loaded either.
  if (isSystemError(error, 'EMFILE', 'ENFILE')) throw error;
  const { message, hint, side } = describe(error);
  const { escapedLines } = await import('../report/text/control-characters.js');
  const run = command?.kind === 'run' ? command : undefined;
  const mistaken = run && (await import('./mistaken.js')).mistakenHint(run.verb, run.values);
  const stack = run?.debug === true && error instanceof Error ? (error.stack?.split('\n') ?? []) : [];
  process.stderr.write(
    escapedLines([
      `bkcache: ${side === undefined ? '' : `${side}: `}${message}`,
      ...[hint, mistaken].flatMap((line) => (line === undefined ? [] : [`  hint: ${line}`])),
      ...stack,
    ]),
  );
  // An interrupt has set the code already.
  process.exit(process.exitCode ?? exitCode(error));
}

interface Described {
  readonly message: string;
  readonly hint?: string | undefined;
  readonly side?: string | undefined;
}

function describe(error: unknown): Described {
  if (error instanceof CacheError) return error;
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
    return {
      message: `the disk is full: ${error.message}`,
      hint: 'make room and run it again; blobs that are there whole are not written again',
    };
  }
  if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) {
    return { message: `not allowed: ${error.message}`, hint: 'check the owner and the mode of that folder' };
  }
  if (isSystemError(error, 'ENOTDIR', 'EEXIST')) {
    return { message: `there is a file where a folder has to be: ${error.message}`, hint: 'name another path' };
  }
  if (isSystemError(error, 'ELOOP', 'ENAMETOOLONG')) {
    return { message: `that path leads nowhere: ${error.message}`, hint: 'name another path' };
  }
  return { message: error instanceof Error ? error.message : String(error) };
}

async function runCommand(): Promise<void> {
  command = await readCommandLine(process.argv.slice(2));
  if (command.kind === 'run') await command.verb.run(command.values);
  else if (command.kind === 'version') process.stdout.write(`${(await import('./version.js')).VERSION}\n`);
  else process.stdout.write(await (await import('./help.js')).helpText(command.verb));
}

/** Runs what the command line asks for, and tells how it failed where it does. */
export async function run(): Promise<void> {
  // Output is written by now: to files, pipes and terminals Node writes at once. What measures coverage writes later.
  process.once('exit', (code) => {
    if (process.env['NODE_V8_COVERAGE'] === undefined) native.exit?.(code);
  });
  // Whoever reads the output may have seen enough, as head does: what was asked for is done all the same.
  process.stdout.on('error', (error) => {
    if (!isSystemError(error, 'EPIPE')) void fail(new CacheError('FAILED', `cannot write to stdout: ${error.message}`));
  });
  // Nobody is there to be told.
  process.stderr.on('error', () => undefined);
  await runCommand().catch(fail);
}
