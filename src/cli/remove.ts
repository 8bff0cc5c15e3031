import { escapedLines } from '../report/text/control-characters.js';
import { parseText } from './quantities.js';
import { LAYOUT_OPTIONS, layoutSettings, STORE_OPTION } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = {
  ...STORE_OPTION,
  ...LAYOUT_OPTIONS,
  'dry-run': { type: 'flag', default: false, describe: 'Only say what would be removed' },
} as const;

export const remove = verb({
  name: 'remove',
  describe: 'Remove a name from the store; gc frees its blobs',
  words: { name: { type: 'value', read: parseText, required: true, describe: 'The name that it was imported under' } },
  options: OPTIONS,
  examples: [['The name only', 'bkcache remove feature-x']],
  async run(argv) {
    const [{ removeCache }, { storePath }, { untilInterrupted }] = await Promise.all([
      import('../operations/remove.js'),
      import('../operations/store.js'),
      import('./interrupt.js'),
    ]);
    const store = storePath(argv.store);
    await untilInterrupted((signal) =>
      removeCache(store, argv.name, { dryRun: argv['dry-run'], layout: layoutSettings(argv), signal }),
    );
    process.stdout.write(escapedLines([`${argv['dry-run'] ? 'would remove' : 'removed'} ${argv.name} from ${store}`]));
  },
});
