import { isReaderGone } from './long-output.js';
import { tellNote } from './note.js';
import { parseText } from './quantities.js';
import { registryAccess } from './registry-access.js';
import { CACHE_WORD, layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const WORDS = {
  ...CACHE_WORD,
  what: {
    type: 'value',
    read: parseText,
    required: true,
    describe: 'A digest, or 12 characters of it; or the path of a file in a layer',
  },
} as const;

const OPTIONS = {
  layer: {
    type: 'value',
    read: parseText,
    describe: 'Take the file from this layer: its digest, or 12 characters of it',
  },
  ...REGISTRY_OPTIONS,
  ...LOCK_OPTION,
} as const;

export const cat = verb({
  name: 'cat',
  describe: 'Write a manifest, a config, a layer, or one file of a layer to stdout',
  words: WORDS,
  options: OPTIONS,
  examples: [
    ['A config, for a program', 'bkcache cat ./cache 1e1def17d3bf | jq .records'],
    ['One file of one layer', 'bkcache cat ./cache app/package.json --layer 4dfe84517fb9'],
  ],
  async run(argv) {
    const { catCache } = await import('../operations/files/cat.js');
    const bytes = catCache(argv.cache, argv.what, {
      layer: argv.layer,
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    });
    for await (const chunk of bytes) {
      process.stdout.write(chunk);
      if (isReaderGone()) return;
    }
  },
});
