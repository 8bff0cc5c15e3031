import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The program that `bkcache` runs. */
export const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** What came of a command; killed by a signal it has no exit code. */
export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command as a user does. */
export function bkcache(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  input: string | Uint8Array = '',
): Promise<Outcome> {
  const { child, outcome } = startCommand(args, env);
  child.stdin.on('error', () => undefined).end(input);
  return outcome;
}

/** Starts the command, for a test that sends signals or looks at what it has written so far. */
export function startCommand(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): { readonly child: ChildProcessWithoutNullStreams; readonly outcome: Promise<Outcome> } {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } });
  const outcome = new Promise<Outcome>((resolve, reject) => {
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
    child.on('error', reject).on('close', (code, signal) => resolve({ code, signal, ...output }));
  });
  return { child, outcome };
}

/** Copies a folder to a folder with the command. */
export function copyFolder(folder: string, out: string, options = ''): Promise<Outcome> {
  const exported = `type=local,dest=${out}${options}`;
  return bkcache(['copy', '--import-cache', `type=local,src=${folder}`, '--export-cache', exported]);
}
