import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { runCopy } from './run-copy.js';
import { type Arguments, EXPORT_OPTION, IMPORT_OPTION, TRANSFER_OPTIONS } from './shared-options.js';

const OPTIONS = { ...IMPORT_OPTION, ...EXPORT_OPTION, ...TRANSFER_OPTIONS };

export const copyCommand: CommandModule<object, Arguments<typeof OPTIONS>> = {
  command: 'copy',
  describe: 'Copy caches, converting and merging them on the way',
  builder: (yargs) =>
    yargs
      .options(OPTIONS)
      .epilogue(
        examples(
          [
            'Convert all layers to zstd',
            'bkcache copy --import-cache ./cache \\\n--export-cache type=local,dest=./out,compression=zstd,force-compression=true',
          ],
          [
            'Keep what the image needs',
            'bkcache copy --import-cache ./cache --export-cache type=local,dest=./small,mode=min',
          ],
          [
            'Two caches as one',
            'bkcache copy --import-cache ./cache-main --import-cache ./cache-feature --export-cache ./merged',
          ],
        ),
      ),
  async handler(argv) {
    const { copyCache } = await import('../copy.js');
    await runCopy(argv, (settings) =>
      copyCache({ ...settings, imports: argv['import-cache'], exports: argv['export-cache'] }),
    );
  },
};
