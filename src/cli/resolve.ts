import { jsonLine } from '../report/text/control-characters.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import { CACHE_WORD, JSON_OPTION, layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = { ...JSON_OPTION, ...REGISTRY_OPTIONS, ...LOCK_OPTION };

export const resolve = verb({
  name: 'resolve',
  describe: 'Which manifest an import would take, as JSON',
  words: CACHE_WORD,
  options: OPTIONS,
  examples: [['The digest of a tag', 'bkcache resolve type=local,src=./cache,tag=main | jq -r .digest']],
  async run(argv) {
    const { resolveCache } = await import('../operations/resolve.js');
    const descriptor = await resolveCache(argv.cache, {
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    });
    process.stdout.write(jsonLine(descriptor));
  },
});
