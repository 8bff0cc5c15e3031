import { CacheError } from '../errors.js';
import { jsonLine } from '../report/text/control-characters.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import { CACHE_WORD, layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = {
  json: { type: 'flag', default: true, describe: 'One JSON document on stdout; resolve has no other output' },
  ...REGISTRY_OPTIONS,
  ...LOCK_OPTION,
} as const;

export const resolve = verb({
  name: 'resolve',
  describe: 'Print the descriptor of the manifest that an import would take',
  words: CACHE_WORD,
  options: OPTIONS,
  examples: [['The digest of a tag', 'bkcache resolve type=local,src=./cache,tag=main | jq -r .digest']],
  async run(argv) {
    if (!argv.json) {
      throw new CacheError('USAGE', 'resolve prints JSON only', { hint: 'leave out --no-json' });
    }
    const { resolveCache } = await import('../operations/resolve.js');
    const descriptor = await resolveCache(argv.cache, {
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    });
    process.stdout.write(jsonLine(descriptor));
  },
});
