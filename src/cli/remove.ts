import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { type Arguments, STORE_OPTION } from './shared-options.js';

export const removeCommand: CommandModule<
  object,
  Arguments<typeof STORE_OPTION> & { name: string; 'dry-run': boolean }
> = {
  command: 'remove <name>',
  aliases: ['rm'],
  describe: 'Take a name out of the store; its blobs stay',
  builder: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, describe: 'The name that it was imported under' })
      .options(STORE_OPTION)
      .option('dry-run', { type: 'boolean', default: false, describe: 'Only say what would go' })
      .epilogue(examples(['The name only', 'bkcache remove feature-x'])),
  async handler(argv) {
    const { removeCache, storePath } = await import('../store.js');
    const store = storePath(argv.store);
    await removeCache(store, argv.name, { dryRun: argv['dry-run'] });
    process.stdout.write(`${argv['dry-run'] ? 'would remove' : 'removed'} ${argv.name} from ${store}\n`);
  },
};
