import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import type { Tool } from '../resolve.js';

const TOOLS = ['buildctl', 'buildx', 'envd'] as const satisfies readonly Tool[];

export const importArgsCommand: CommandModule<object, { caches: string[]; for: Tool }> = {
  command: 'import-args <caches..>',
  describe: 'The flags for the imports that are there, a word a line; nothing for the others',
  builder: (yargs) =>
    yargs
      .positional('caches', { type: 'string', array: true, demandOption: true, describe: 'Import strings or paths' })
      .option('for', { choices: TOOLS, default: TOOLS[0], describe: 'Whose flags' })
      .epilogue(
        examples([
          'No failure when the first build finds no cache',
          'docker buildx build $(bkcache import-args --for buildx type=local,src=./cache) .',
        ]),
      ),
  async handler(argv) {
    const { importArguments } = await import('../resolve.js');
    const words = await importArguments(argv.caches, argv.for, (options, reason) => {
      process.stderr.write(`bkcache: left out ${options.attributes['src'] ?? options.type}: ${reason.message}\n`);
    });
    for (const word of words) process.stdout.write(`${word}\n`);
  },
};
