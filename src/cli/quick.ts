import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { Options } from 'yargs';
import type { Arguments, Table, Verb } from './verb.js';
import { VERBS } from './verbs.js';

/**
 * Runs a verb without loading yargs, which takes longer than many of them do. Whatever is not plainly a whole command,
 * such as help or a wrong option, is left to yargs, which has the words for it.
 *
 * @returns whether it was run
 */
export async function quick(argv: readonly string[]): Promise<boolean> {
  const [name = '', ...words] = argv;
  const verb = await VERBS.get(name)?.();
  if (verb === undefined) return false;
  const parsed = plainArguments(verb, words);
  if (parsed === undefined) return false;
  await verb.run(parsed);
  return true;
}

type Values = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

/** What yargs would read from the words; undefined where that is not plain to see. */
export function plainArguments(
  { positionals, options }: Pick<Verb, 'positionals' | 'options'>,
  words: readonly string[],
): Arguments<Table> | undefined {
  // To yargs these may be values of options that take none, or its own; and it has views on empty ones.
  if (words.some((word) => ['--', 'true', 'false', ''].includes(word) || word.endsWith('='))) return undefined;
  const parsed = parsedWords(options, words);
  if (parsed === undefined) return undefined;
  const named = Object.entries(options).map(([name, option]) => [name, valueOf(name, option, parsed.values)] as const);
  const placed = placedWords(Object.entries(positionals), parsed.positionals);
  if (placed === undefined || named.some(([name, value]) => !isFine(options[name] ?? {}, value))) return undefined;
  return Object.fromEntries([...named, ...placed]);
}

function parsedWords(options: Table, words: readonly string[]) {
  const config: Record<string, NonNullable<ParseArgsConfig['options']>[string]> = { debug: { type: 'boolean' } };
  for (const [name, { type, array }] of Object.entries(options)) {
    config[name] = { type: type === 'boolean' ? 'boolean' : 'string', multiple: array === true };
    if (type === 'boolean') config[`no-${name}`] = { type: 'boolean' };
  }
  try {
    const { values, positionals, tokens } = parseArgs({
      args: [...words],
      options: config,
      allowPositionals: true,
      tokens: true,
    });
    const named = tokens.flatMap((token) => (token.kind === 'option' ? [token.name.replace(/^no-/, '')] : []));
    const isTwice = named.some((name, at) => named.indexOf(name) !== at && options[name]?.array !== true);
    return isTwice ? undefined : { values: values as Values, positionals };
  } catch {
    return undefined;
  }
}

function valueOf(name: string, option: Options, values: Values): unknown {
  if (values[`no-${name}`] === true) return false;
  return values[name] ?? option.default;
}

function isFine({ demandOption, choices }: Options, value: unknown): boolean {
  if (value === undefined) return demandOption !== true;
  return choices === undefined || choices.includes(value as string);
}

function placedWords(
  places: readonly (readonly [name: string, option: Options])[],
  words: readonly string[],
): (readonly [string, unknown])[] | undefined {
  const last = places.at(-1)?.[1];
  if (words.length > places.length && last?.array !== true) return undefined;
  const placed = places.map(([name, { array }], at) => [name, array === true ? words.slice(at) : words[at]] as const);
  const lacks = placed.some(([, value], at) => {
    const isThere = Array.isArray(value) ? value.length > 0 : value !== undefined;
    return !isThere && places[at]?.[1].demandOption === true;
  });
  return lacks ? undefined : placed;
}
