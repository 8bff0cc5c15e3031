import { TOOLS } from '../calls.js';
import type { CacheOptions } from '../buildkit/options.js';
import { CacheError } from '../errors.js';
import { escapedLines } from '../report/text/control-characters.js';
import { parseChoice, parseText } from './quantities.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import { layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = {
  ...REGISTRY_OPTIONS,
  ...LOCK_OPTION,
  for: {
    type: 'value',
    read: parseChoice(...TOOLS),
    default: 'buildctl',
    describe: `The tool whose flags are printed: ${TOOLS.join(', ')}`,
  },
  null: { type: 'flag', default: false, describe: 'End each word with a NUL byte, for "xargs -0" and "readarray -d"' },
} as const;

export const importArgs = verb({
  name: 'import-args',
  describe: 'Print import flags, one word a line, for those caches that exist',
  words: {
    caches: {
      type: 'value',
      read: parseText,
      list: true,
      required: true,
      names: 'cache',
      describe: 'Import strings or paths',
    },
  },
  options: OPTIONS,
  examples: [
    [
      'No failure when the first build finds no cache (bash; paths may have spaces)',
      'readarray -t flags < <(bkcache import-args --for buildx type=local,src=./cache)\ndocker buildx build "${flags[@]}" .',
    ],
  ],
  async run(argv) {
    const { importArguments } = await import('../operations/import-args.js');
    const onMissing = (_: CacheOptions, reason: Error, name: string) => {
      // A cache that does not exist yet is normal before the first export, and needs no hint.
      const hint = reason instanceof CacheError && reason.code !== 'NOT_FOUND' ? reason.hint : undefined;
      process.stderr.write(
        escapedLines([
          `bkcache: left out ${name}: ${reason.message}`,
          ...(hint === undefined ? [] : [`  hint: ${hint}`]),
        ]),
      );
    };
    const access = { registry: await registryAccess(argv), layout: layoutSettings(argv), onNote: tellNote };
    const words = await importArguments(argv.caches, argv.for, onMissing, access);
    const broken = argv.null ? undefined : words.find((word) => word.includes('\n'));
    if (broken !== undefined) {
      throw new CacheError('USAGE', 'a word contains a line break, and the words are separated by line breaks', {
        hint: 'use --null, which ends each word with a NUL byte; read it with readarray -d ""',
      });
    }
    const end = argv.null ? '\0' : '\n';
    process.stdout.write(words.map((word) => `${word}${end}`).join(''));
  },
});
