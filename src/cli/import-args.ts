import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import type { CacheOptions } from '../buildkit/options.js';
import type { CacheError } from '../errors.js';
import type { Tool } from '../resolve.js';
import { registryAccess } from './registry-access.js';
import { type Arguments, REGISTRY_OPTIONS } from './shared-options.js';

const TOOLS = ['buildctl', 'buildx', 'envd'] as const satisfies readonly Tool[];

export const importArgsCommand: CommandModule<
  object,
  Arguments<typeof REGISTRY_OPTIONS> & { caches: string[]; for: Tool }
> = {
  command: 'import-args <caches..>',
  describe: 'The flags for the imports that are there, a word a line; nothing for the others',
  builder: (yargs) =>
    yargs
      .positional('caches', { type: 'string', array: true, demandOption: true, describe: 'Import strings or paths' })
      .options(REGISTRY_OPTIONS)
      .option('for', { choices: TOOLS, default: TOOLS[0], describe: 'Whose flags' })
      .epilogue(
        examples([
          'No failure when the first build finds no cache',
          'docker buildx build $(bkcache import-args --for buildx type=local,src=./cache) .',
        ]),
      ),
  async handler(argv) {
    const { importArguments } = await import('../resolve.js');
    const onMissing = ({ type, attributes }: CacheOptions, reason: CacheError) => {
      const name = attributes['src'] ?? attributes['ref'] ?? type;
      process.stderr.write(`bkcache: left out ${name}: ${reason.message}\n`);
    };
    const access = { registry: await registryAccess(argv) };
    const words = await importArguments(argv.caches, argv.for, onMissing, access);
    for (const word of words) process.stdout.write(`${word}\n`);
  },
};
