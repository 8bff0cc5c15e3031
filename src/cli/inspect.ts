import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { type Arguments, JSON_OPTION } from './shared-options.js';

export const inspectCommand: CommandModule<object, Arguments<typeof JSON_OPTION> & { cache: string }> = {
  command: 'inspect <cache>',
  describe: 'One cache: its shape, layers and records',
  builder: (yargs) =>
    yargs
      .positional('cache', { type: 'string', demandOption: true, describe: 'An import string or a path' })
      .options(JSON_OPTION)
      .epilogue(
        examples(
          ['The cache tagged latest in a folder', 'bkcache inspect ./cache'],
          ['Another tag, for a program', 'bkcache inspect type=local,src=./cache,tag=main --json'],
        ),
      ),
  async handler({ cache, json }) {
    const { inspectCache } = await import('../report/describe.js');
    const description = await inspectCache(cache);
    if (json) process.stdout.write(`${JSON.stringify(description)}\n`);
    else process.stdout.write((await import('../report/tables.js')).inspectText(description));
  },
};
