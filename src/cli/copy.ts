import { runCopy } from './run-copy.js';
import { EXPORT_OPTION, IMPORT_OPTION, TRANSFER_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = { ...IMPORT_OPTION, ...EXPORT_OPTION, ...TRANSFER_OPTIONS };

export const copy = verb({
  name: 'copy',
  describe: 'Copy caches, converting and merging them on the way',
  words: {},
  options: OPTIONS,
  examples: [
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
  ],
  async run(argv) {
    const { copyCache } = await import('../operations/copy/copy.js');
    await runCopy(argv, (settings) =>
      copyCache({ ...settings, imports: argv['import-cache'], exports: argv['export-cache'] }),
    );
  },
});
