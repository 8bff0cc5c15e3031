import { jsonLine } from '../report/text/control-characters.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import { CACHE_WORD, JSON_OPTION, layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = { ...JSON_OPTION, ...REGISTRY_OPTIONS, ...LOCK_OPTION };

export const inspect = verb({
  name: 'inspect',
  describe: 'Show the shape, layers and records of one cache',
  words: CACHE_WORD,
  options: OPTIONS,
  examples: [
    ['The cache tagged latest in a folder', 'bkcache inspect ./cache'],
    ['Another tag, for a program', 'bkcache inspect type=local,src=./cache,tag=main --json'],
  ],
  async run(argv) {
    const { inspectCache } = await import('../operations/inspect.js');
    const description = await inspectCache(argv.cache, {
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    });
    if (argv.json) process.stdout.write(jsonLine(description));
    else process.stdout.write((await import('../report/text/inspect.js')).inspectText(description));
  },
});
