import yargs, { type CommandModule, type Options } from 'yargs';
import { GLOBAL } from './command-line.js';
import { type Example, type Option, usage, type Verb } from './verb.js';
import { ALIASES, VERBS } from './verbs.js';

const GENERAL: readonly Example[] = [
  [
    'Keep what the image needs',
    'bkcache copy --import-cache type=local,src=./cache --export-cache type=local,dest=./small,mode=min',
  ],
  ['Keep a cache in the store under a name', 'bkcache import main --import-cache ./cache'],
  ['What is in the store', 'bkcache list'],
];

/** The help of a verb, or of all verbs. yargs is loaded for the layout of help only; `command-line.ts` reads command lines. */
export async function helpText(verb?: Verb): Promise<string> {
  const verbs = await Promise.all([...VERBS.values()].map((load) => load()));
  const general = yargs(verb === undefined ? [] : [verb.name])
    .scriptName('bkcache')
    .locale('en')
    .usage('$0 <command>\n\nCopies, converts, merges, slims and shows BuildKit build caches.')
    .command(verbs.map(commandOf))
    .option('debug', yargsOption(GLOBAL.debug))
    .help('help', GLOBAL.help.describe)
    .alias('help', 'h')
    .version(false)
    .group(['help', 'debug'], 'Options of every command:')
    .wrap(Math.min(110, process.stdout.columns ?? 100));
  if (verb === undefined)
    general
      .epilogue(examples(GENERAL))
      .option('version', yargsOption(VERSION))
      .group('version', 'Instead of a command:');
  return `${(await general.getHelp()).trimEnd()}\n`;
}

const VERSION: Option = { type: 'flag', default: false, describe: 'Show the version' };

function commandOf(verb: Verb): CommandModule {
  return {
    command: usage(verb),
    aliases: [...ALIASES].flatMap(([alias, name]) => (name === verb.name ? alias : [])),
    describe: verb.describe,
    builder: (parser) => {
      for (const [name, { describe, required = false, list = false }] of Object.entries(verb.words))
        parser.positional(name, { type: 'string', describe, demandOption: required, array: list });
      for (const [name, option] of Object.entries(verb.options)) parser.option(name, yargsOption(option));
      return parser.epilogue(examples(verb.examples));
    },
    handler: () => undefined,
  };
}

/** An option as yargs shows it. The default of a flag is shown only when it is true. */
function yargsOption(option: Option): Options {
  const { describe } = option;
  if (option.type === 'flag') return { type: 'boolean', describe, ...(option.default ? { default: true } : {}) };
  const { required = false, list = false, default: value, short } = option;
  return {
    type: 'string',
    describe,
    ...(short === undefined ? {} : { alias: short }),
    demandOption: required,
    array: list,
    ...(value === undefined ? {} : { default: value }),
  };
}

/** The examples below a help: each command is whole, and on separate lines, so that it can be pasted. */
function examples(list: readonly Example[]): string {
  return [
    'Examples:',
    ...list.flatMap(([what, command]) => [`  # ${what}`, `  ${command.replaceAll('\n', '\n    ')}`]),
  ].join('\n');
}
