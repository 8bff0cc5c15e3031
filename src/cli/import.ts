import { runCopy } from './run-copy.js';
import { parseText } from './quantities.js';
import { IMPORT_OPTION, STORE_OPTION, TRANSFER_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = { ...IMPORT_OPTION, ...STORE_OPTION, ...TRANSFER_OPTIONS };

export const importVerb = verb({
  name: 'import',
  describe: 'Keep caches in the store under a name',
  words: { name: { type: 'value', read: parseText, required: true, describe: 'The tag that the store gives it' } },
  options: OPTIONS,
  examples: [
    [
      'BuildKit then imports type=local,src=STORE,tag=main',
      'bkcache import main --import-cache type=local,src=./cache',
    ],
  ],
  async run(argv) {
    const [{ importCache }, { storePath }] = await Promise.all([
      import('../operations/import.js'),
      import('../operations/store.js'),
    ]);
    await runCopy(argv, (settings) => importCache(storePath(argv.store), argv.name, argv['import-cache'], settings));
  },
});
