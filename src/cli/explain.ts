import { jsonLine } from '../report/text/control-characters.js';
import { tellNote } from './note.js';
import { parseText } from './quantities.js';
import { registryAccess } from './registry-access.js';
import { JSON_OPTION, layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const WORDS = {
  imported: {
    type: 'value',
    read: parseText,
    required: true,
    names: 'cache',
    describe: 'The cache that the build should have hit: an import string or a path',
  },
  written: {
    type: 'value',
    read: parseText,
    required: true,
    names: 'cache',
    describe: 'The cache that the build wrote',
  },
} as const;

export const explain = verb({
  name: 'explain',
  describe: 'Say why the steps of a build missed a cache, from that cache and the one it wrote',
  words: WORDS,
  options: { ...JSON_OPTION, ...REGISTRY_OPTIONS, ...LOCK_OPTION },
  examples: [
    ['Two tags of one folder', 'bkcache explain type=local,src=./store,tag=main type=local,src=./store,tag=feature-x'],
    ['For a program', 'bkcache explain ./cache-main ./cache-feature --json'],
  ],
  async run(argv) {
    const { explainCaches } = await import('../operations/explain/explain.js');
    const explanation = await explainCaches(argv.imported, argv.written, {
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    });
    if (argv.json) process.stdout.write(jsonLine(explanation));
    else process.stdout.write((await import('../report/text/explain.js')).explainText(explanation));
  },
});
