import { execFile, type ExecFileOptions } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

// Far above what a build says; the default of 1 MiB is not.
const OUTPUT_LIMIT = 64 * 1024 * 1024;

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that ended with another code than 0, or was killed. */
export class CommandError extends Error {
  override readonly name = 'CommandError';

  readonly output: Output;

  constructor(command: string, code: number | string | undefined, output: Output) {
    const end = lastLines(`${output.stdout}\n${output.stderr}`, 15);
    super(`${command} ended with ${code ?? 'a signal'}${end === '' ? '' : `:\n${end}`}`);
    this.output = output;
  }
}

/**
 * Runs a command to its end. The command is killed when this process dies, in whatever way.
 *
 * @throws CommandError when it does not end with 0; the signal's reason when that stopped it
 */
export async function run(
  command: string,
  args: readonly string[],
  options: Pick<ExecFileOptions, 'cwd' | 'env' | 'signal'> = {},
): Promise<Output> {
  try {
    return await execute('setpriv', mortal([command, ...args]), { ...options, maxBuffer: OUTPUT_LIMIT });
  } catch (error) {
    options.signal?.throwIfAborted();
    const { code, stdout, stderr } = error as { code?: number | string } & Partial<Output>;
    if (stdout === undefined || stderr === undefined) throw error;
    throw new CommandError([command, ...args].join(' '), code, { stdout, stderr });
  }
}

/** Arguments of setpriv(1) that have a command killed as soon as its parent is no more, even by SIGKILL. */
export function mortal(command: readonly string[]): string[] {
  return ['--pdeathsig', 'KILL', '--', ...command];
}

export function lastLines(text: string, count: number): string {
  return text.trim().split('\n').slice(-count).join('\n');
}
