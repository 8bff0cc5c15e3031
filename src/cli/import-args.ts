import type { CacheOptions } from '../buildkit/options.js';
import { printed } from '../report/visible.js';
import type { Tool } from '../resolve.js';
import { registryAccess } from './registry-access.js';
import { layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const TOOLS = ['buildctl', 'buildx', 'envd'] as const satisfies readonly Tool[];
const OPTIONS = {
  ...REGISTRY_OPTIONS,
  ...LOCK_OPTION,
  for: { choices: TOOLS, default: TOOLS[0], describe: 'Whose flags' },
} as const;

export const importArgs = verb({
  name: 'import-args',
  describe: 'The flags for the imports that are there, a word a line; nothing for the others',
  positionals: { caches: { type: 'string', array: true, demandOption: true, describe: 'Import strings or paths' } },
  options: OPTIONS,
  examples: [
    [
      'No failure when the first build finds no cache',
      'docker buildx build $(bkcache import-args --for buildx type=local,src=./cache) .',
    ],
  ],
  async run(argv) {
    const { importArguments } = await import('../resolve.js');
    const onMissing = ({ type, attributes }: CacheOptions, reason: Error) => {
      const name = attributes['src'] ?? attributes['ref'] ?? type;
      process.stderr.write(printed([`bkcache: left out ${name}: ${reason.message}`]));
    };
    const access = { registry: await registryAccess(argv), layout: layoutSettings(argv) };
    const words = await importArguments(argv.caches, argv.for, onMissing, access);
    for (const word of words) process.stdout.write(`${word}\n`);
  },
});
