import { runCopy } from './run-copy.js';
import { parseText } from './quantities.js';
import { EXPORT_OPTION, STORE_OPTION, TRANSFER_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = { ...EXPORT_OPTION, ...STORE_OPTION, ...TRANSFER_OPTIONS };

export const exportVerb = verb({
  name: 'export',
  describe: 'Copy a cache out of the store',
  words: { name: { type: 'value', read: parseText, required: true, describe: 'The name that it was imported under' } },
  options: OPTIONS,
  examples: [['Carry it to another machine', 'bkcache export main --export-cache type=local,dest=/media/usb/cache']],
  async run(argv) {
    const [{ exportCache }, { storePath }] = await Promise.all([
      import('../operations/export.js'),
      import('../operations/store.js'),
    ]);
    await runCopy(argv, (settings) => exportCache(storePath(argv.store), argv.name, argv['export-cache'], settings));
  },
});
