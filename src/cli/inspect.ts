import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { registryAccess } from './registry-access.js';
import { type Arguments, JSON_OPTION, REGISTRY_OPTIONS } from './shared-options.js';

const OPTIONS = { ...JSON_OPTION, ...REGISTRY_OPTIONS };

export const inspectCommand: CommandModule<object, Arguments<typeof OPTIONS> & { cache: string }> = {
  command: 'inspect <cache>',
  describe: 'One cache: its shape, layers and records',
  builder: (yargs) =>
    yargs
      .positional('cache', { type: 'string', demandOption: true, describe: 'An import string or a path' })
      .options(OPTIONS)
      .epilogue(
        examples(
          ['The cache tagged latest in a folder', 'bkcache inspect ./cache'],
          ['Another tag, for a program', 'bkcache inspect type=local,src=./cache,tag=main --json'],
        ),
      ),
  async handler(argv) {
    const { inspectCache } = await import('../report/describe.js');
    const description = await inspectCache(argv.cache, { registry: await registryAccess(argv) });
    if (argv.json) process.stdout.write(`${JSON.stringify(description)}\n`);
    else process.stdout.write((await import('../report/tables.js')).inspectText(description));
  },
};
