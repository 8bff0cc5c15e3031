import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { runCopy } from './run-copy.js';
import { type Arguments, IMPORT_OPTION, STORE_OPTION, TRANSFER_OPTIONS } from './shared-options.js';

const OPTIONS = { ...IMPORT_OPTION, ...STORE_OPTION, ...TRANSFER_OPTIONS };

export const importCommand: CommandModule<object, Arguments<typeof OPTIONS> & { name: string }> = {
  command: 'import <name>',
  describe: 'Keep caches in the store under a name',
  builder: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, describe: 'The tag that the store gives it' })
      .options(OPTIONS)
      .epilogue(
        examples([
          'BuildKit then imports type=local,src=STORE,tag=main',
          'bkcache import main --import-cache type=local,src=./cache',
        ]),
      ),
  async handler(argv) {
    const { importCache, storePath } = await import('../store.js');
    await runCopy(argv, (settings) => importCache(storePath(argv.store), argv.name, argv['import-cache'], settings));
  },
};
