import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { type Arguments, JSON_OPTION } from './shared-options.js';

export const resolveCommand: CommandModule<object, Arguments<typeof JSON_OPTION> & { cache: string }> = {
  command: 'resolve <cache>',
  describe: 'Which manifest an import would take, as JSON',
  builder: (yargs) =>
    yargs
      .positional('cache', { type: 'string', demandOption: true, describe: 'An import string or a path' })
      .options(JSON_OPTION)
      .epilogue(examples(['The digest of a tag', 'bkcache resolve type=local,src=./cache,tag=main | jq -r .digest'])),
  async handler({ cache }) {
    const { resolveCache } = await import('../resolve.js');
    process.stdout.write(`${JSON.stringify(await resolveCache(cache))}\n`);
  },
};
