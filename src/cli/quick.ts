import { parseArgs } from 'node:util';

/**
 * Runs `resolve`, which scripts call before each build, without loading yargs, which takes longer than all the rest of
 * it together. Whatever is not plainly that command, such as help or a wrong option, is left to yargs.
 *
 * @returns whether it was run
 */
export async function quick(argv: readonly string[]): Promise<boolean> {
  const [verb, ...args] = argv;
  const cache = verb === 'resolve' ? onlyCache(args) : undefined;
  if (cache === undefined) return false;
  const { resolveCache } = await import('../resolve.js');
  process.stdout.write(`${JSON.stringify(await resolveCache(cache))}\n`);
  return true;
}

function onlyCache(args: string[]): string | undefined {
  try {
    const { positionals } = parseArgs({ args, allowPositionals: true, options: { json: { type: 'boolean' } } });
    return positionals.length === 1 ? positionals[0] : undefined;
  } catch {
    return undefined;
  }
}
