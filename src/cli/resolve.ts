import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { registryAccess } from './registry-access.js';
import { type Arguments, JSON_OPTION, REGISTRY_OPTIONS } from './shared-options.js';

const OPTIONS = { ...JSON_OPTION, ...REGISTRY_OPTIONS };

export const resolveCommand: CommandModule<object, Arguments<typeof OPTIONS> & { cache: string }> = {
  command: 'resolve <cache>',
  describe: 'Which manifest an import would take, as JSON',
  builder: (yargs) =>
    yargs
      .positional('cache', { type: 'string', demandOption: true, describe: 'An import string or a path' })
      .options(OPTIONS)
      .epilogue(examples(['The digest of a tag', 'bkcache resolve type=local,src=./cache,tag=main | jq -r .digest'])),
  async handler(argv) {
    const { resolveCache } = await import('../resolve.js');
    const descriptor = await resolveCache(argv.cache, { registry: await registryAccess(argv) });
    process.stdout.write(`${JSON.stringify(descriptor)}\n`);
  },
};
