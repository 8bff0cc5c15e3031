import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { runCopy } from './run-copy.js';
import { type Arguments, EXPORT_OPTION, STORE_OPTION, TRANSFER_OPTIONS } from './shared-options.js';

const OPTIONS = { ...EXPORT_OPTION, ...STORE_OPTION, ...TRANSFER_OPTIONS };

export const exportCommand: CommandModule<object, Arguments<typeof OPTIONS> & { name: string }> = {
  command: 'export <name>',
  describe: 'Copy a cache out of the store',
  builder: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, describe: 'The name that it was imported under' })
      .options(OPTIONS)
      .epilogue(
        examples([
          'Carry it to another machine',
          'bkcache export main --export-cache type=local,dest=/media/usb/cache',
        ]),
      ),
  async handler(argv) {
    const { exportCache, storePath } = await import('../store.js');
    await runCopy(argv, (settings) => exportCache(storePath(argv.store), argv.name, argv['export-cache'], settings));
  },
};
