import { fileURLToPath } from 'node:url';
import { run } from './run.js';

const COMMAND = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/**
 * Runs the command as a user does.
 *
 * @returns what it wrote to stdout
 * @throws CommandError when it fails
 */
export async function bkcache(args: readonly string[], signal: AbortSignal): Promise<string> {
  const { stdout } = await run(process.execPath, [COMMAND, ...args], { signal });
  return stdout;
}
