import { closest } from 'fastest-levenshtein';
import yargs, { type CommandModule } from 'yargs';
import { CacheError } from '../errors.js';
import { type Example, type Table, usage, type Verb } from './verb.js';
import { VERBS } from './verbs.js';

/** Runs the command that the words name, or says what is wrong with it. */
export async function runCommand(argv: readonly string[]): Promise<void> {
  const verbs = await Promise.all([...VERBS.values()].map((load) => load()));
  await commandParser(argv, verbs)
    .epilogue(
      examples(
        [
          'Keep what the image needs',
          'bkcache copy --import-cache type=local,src=./cache --export-cache type=local,dest=./small,mode=min',
        ],
        ['Keep a cache in the store under a name', 'bkcache import main --import-cache ./cache'],
        ['What is in the store', 'bkcache list'],
      ),
    )
    .wrap(Math.min(110, process.stdout.columns ?? 100))
    .version((await import('./version.js')).VERSION)
    .help()
    .parseAsync();
}

/** A parser that knows these verbs. */
export function commandParser(argv: readonly string[], verbs: readonly Verb[]) {
  return verbs
    .reduce((parser, verb) => parser.command(commandOf(verb)), yargs([...argv]))
    .scriptName('bkcache')
    .usage('$0 <command>\n\nCopies, converts, merges, slims and shows BuildKit build caches.')
    .option('debug', { type: 'boolean', describe: 'Show where an error came from', global: true })
    .demandCommand(1, 'Name a command.')
    .recommendCommands()
    .strict()
    .parserConfiguration({
      'duplicate-arguments-array': true,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .fail((message, error) => {
      if (error) throw error;
      // Where one is misspelt, another that is demanded is missing, and yargs speaks of that alone.
      throw (
        misspelt(argv, verbs) ??
        new CacheError('USAGE', message.replaceAll(/\s*\n\s*/g, ' '), { hint: 'see bkcache --help' })
      );
    });
}

/** The error for the first option that the verb does not have. */
function misspelt([name, ...words]: readonly string[], verbs: readonly Verb[]): CacheError | undefined {
  const verb = verbs.find(({ name: own, aliases = [] }) => own === name || aliases.includes(name ?? ''));
  if (verb === undefined) return undefined;
  const known = [...Object.keys(verb.options), 'debug', 'help', 'version'];
  const end = words.indexOf('--');
  const unknown = words
    .slice(0, end < 0 ? undefined : end)
    .flatMap((word) => /^--(?:no-)?([^=]+)/.exec(word)?.[1] ?? [])
    // yargs takes --dryRun as well.
    .find((option) => !known.includes(option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)));
  if (unknown === undefined) return undefined;
  return new CacheError('USAGE', `${verb.name} has no option --${unknown}`, {
    hint: `the nearest is --${closest(unknown, known)}; see bkcache ${verb.name} --help`,
  });
}

function commandOf(verb: Verb): CommandModule {
  const { aliases = [], describe, positionals, options } = verb;
  return {
    command: usage(verb),
    aliases,
    describe,
    builder: (parser) => {
      for (const [name, option] of Object.entries(positionals)) parser.positional(name, option as PositionalOption);
      return parser
        .options(options)
        .check((argv) => checkValues({ ...positionals, ...options }, argv))
        .epilogue(examples(...verb.examples));
    },
    handler: (argv) => verb.run(argv),
  };
}

/**
 * Refuses what yargs makes of an option that takes a value, and is written as `--no-…`, or twice.
 *
 * @throws CacheError USAGE
 */
function checkValues(options: Table, argv: Readonly<Record<string, unknown>>): true {
  for (const [name, { type, array = false }] of Object.entries(options)) {
    const value = argv[name];
    if (type === 'boolean') continue;
    if ([value].flat().includes(false)) {
      throw new CacheError('USAGE', `there is no --no-${name}, since --${name} takes a value`, {
        hint: 'leave it out',
      });
    }
    if (Array.isArray(value) && !array) {
      throw new CacheError('USAGE', `--${name} takes one value, and was given ${value.length}`, {
        hint: 'name it once',
      });
    }
  }
  return true;
}

type PositionalOption = Parameters<ReturnType<typeof yargs>['positional']>[1];

/** Examples below a verb's help, whole and on lines of their own, so that they can be pasted. */
function examples(...list: readonly Example[]): string {
  return [
    'Examples:',
    ...list.flatMap(([what, command]) => [`  # ${what}`, `  ${command.replaceAll('\n', '\n    ')}`]),
  ].join('\n');
}
