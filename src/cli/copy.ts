import type { CommandModule } from 'yargs';
import { runCopy } from './run-copy.js';
import { type Arguments, EXPORT_OPTION, IMPORT_OPTION, TRANSFER_OPTIONS } from './shared-options.js';

const OPTIONS = { ...IMPORT_OPTION, ...EXPORT_OPTION, ...TRANSFER_OPTIONS };

export const copyCommand: CommandModule<object, Arguments<typeof OPTIONS>> = {
  command: 'copy',
  describe: 'Copy caches, converting and merging them on the way',
  builder: (yargs) =>
    yargs
      .options(OPTIONS)
      .example(
        '$0 copy --import-cache type=local,src=./cache --export-cache type=local,dest=./out,compression=zstd,force-compression=true',
        'Convert all layers to zstd',
      )
      .example(
        '$0 copy --import-cache ./cache-main --import-cache ./cache-feature --export-cache ./merged',
        'Two caches as one',
      ),
  async handler(argv) {
    const { copyCache } = await import('../copy.js');
    await runCopy(argv, (settings) =>
      copyCache({ ...settings, imports: argv['import-cache'], exports: argv['export-cache'] }),
    );
  },
};
