import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { type Arguments, LAYOUT_OPTIONS, layoutSettings, STORE_OPTION } from './shared-options.js';

const OPTIONS = { ...STORE_OPTION, ...LAYOUT_OPTIONS };

export const removeCommand: CommandModule<object, Arguments<typeof OPTIONS> & { name: string; 'dry-run': boolean }> = {
  command: 'remove <name>',
  aliases: ['rm'],
  describe: 'Take a name out of the store; its blobs stay',
  builder: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, describe: 'The name that it was imported under' })
      .options(OPTIONS)
      .option('dry-run', { type: 'boolean', default: false, describe: 'Only say what would go' })
      .epilogue(examples(['The name only', 'bkcache remove feature-x'])),
  async handler(argv) {
    const { removeCache, storePath } = await import('../store.js');
    const store = storePath(argv.store);
    await removeCache(store, argv.name, { dryRun: argv['dry-run'], layout: layoutSettings(argv) });
    process.stdout.write(`${argv['dry-run'] ? 'would remove' : 'removed'} ${argv.name} from ${store}\n`);
  },
};
