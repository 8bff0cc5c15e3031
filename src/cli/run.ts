import { CacheError, exitCode, isSystemError } from '../errors.js';
import { native } from '../layout/files/native-exit.js';
import { type Command, readCommandLine } from './command-line.js';

let command: Command | undefined;

async function fail(error: unknown): Promise<never> {
  // The modules for the message could not be loaded either.
  if (isSystemError(error, 'EMFILE', 'ENFILE')) throw error;
  const { message, hint, side } = explain(error);
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

interface Explained {
  readonly message: string;
  readonly hint?: string | undefined;
  readonly side?: string | undefined;
}

function explain(error: unknown): Explained {
  if (error instanceof CacheError) return error;
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
    return {
      message: `the disk is full: ${error.message}`,
      hint: 'free some space and run the command again; it does not write complete blobs a second time',
    };
  }
  if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) {
    return { message: `not allowed: ${error.message}`, hint: 'check the owner and the mode of that folder' };
  }
  if (isSystemError(error, 'ENOTDIR', 'EEXIST')) {
    return { message: `a file stands where a folder is needed: ${error.message}`, hint: 'name another path' };
  }
  if (isSystemError(error, 'ELOOP', 'ENAMETOOLONG')) {
    return { message: `the path cannot be followed: ${error.message}`, hint: 'name another path' };
  }
  return { message: error instanceof Error ? error.message : String(error) };
}

async function runCommand(): Promise<void> {
  command = await readCommandLine(process.argv.slice(2));
  if (command.kind === 'run') await command.verb.run(command.values);
  else if (command.kind === 'version') process.stdout.write(`${(await import('./version.js')).VERSION}\n`);
  else process.stdout.write(await (await import('./help.js')).helpText(command.verb));
}

/** Runs the command line, and reports its failure. */
export async function run(): Promise<void> {
  // Node writes to files, pipes and terminals synchronously, so all output is written. Coverage is written after exit.
  process.once('exit', (code) => {
    if (process.env['NODE_V8_COVERAGE'] === undefined) native.exit?.(code);
  });
  // A reader such as head may close the pipe early; the command still does its work.
  process.stdout.on('error', (error) => {
    if (!isSystemError(error, 'EPIPE')) void fail(new CacheError('FAILED', `cannot write to stdout: ${error.message}`));
  });
  // An error of stderr cannot be reported.
  process.stderr.on('error', () => undefined);
  await runCommand().catch(fail);
}
