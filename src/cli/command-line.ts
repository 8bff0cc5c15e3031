import { parseArgs } from 'node:util';
import { nearest } from '../nearest.js';
import { parseFlag } from '../buildkit/values.js';
import { CacheError } from '../errors.js';
import { type Arguments, type Flag, type Option, type Table, usage, type Value, type Verb } from './verb.js';
import { ALIASES, VERBS } from './verbs.js';

/** What a command line asks for. */
export type Command =
  | { readonly kind: 'run'; readonly verb: Verb; readonly values: Arguments<Table>; readonly debug: boolean }
  /** The help of one verb, or of all verbs. */
  | { readonly kind: 'help'; readonly verb: Verb | undefined }
  | { readonly kind: 'version' };

/** The options of every verb. */
export const GLOBAL = {
  help: { type: 'flag', default: false, describe: 'Show help' },
  debug: { type: 'flag', default: false, describe: 'Show where an error came from' },
} as const satisfies Readonly<Record<string, Flag>>;

/**
 * Reads the words after `bkcache`, and is the only reader of command lines. It refuses every word that it does not know,
 * so that no slip of the keyboard turns into another command.
 *
 * @throws CacheError USAGE
 */
export async function readCommandLine(argv: readonly string[]): Promise<Command> {
  const [first, ...rest] = argv;
  if (first === undefined) {
    throw new CacheError('USAGE', 'no command is named', { hint: '"bkcache --help" lists the commands' });
  }
  if (first === '--version') return { kind: 'version' };
  if (['help', '--help', '-h'].includes(first)) {
    const name = rest.find((word) => !word.startsWith('-'));
    return { kind: 'help', verb: name === undefined ? undefined : await verbNamed(name) };
  }
  if (first.startsWith('-')) {
    throw new CacheError('USAGE', `${first} stands before the command`, {
      hint: 'name the command first: bkcache list --json',
    });
  }
  const verb = await verbNamed(first);
  const { help, debug, ...values } = readWords(verb, rest);
  return help === true ? { kind: 'help', verb } : { kind: 'run', verb, values, debug: debug === true };
}

async function verbNamed(name: string): Promise<Verb> {
  const verb = await VERBS.get(ALIASES.get(name) ?? name)?.();
  if (verb !== undefined) return verb;
  const near = nearest(name, [...VERBS.keys(), ...ALIASES.keys()]);
  throw new CacheError('USAGE', `there is no command ${JSON.stringify(name)}`, {
    hint: `${near === undefined ? '' : `did you mean ${near}? `}"bkcache --help" lists the commands`,
  });
}

/**
 * Reads the words after a verb. Options and words may stand in any order; after `--` all are words.
 *
 * @throws CacheError USAGE
 */
export function readWords(verb: Verb, words: readonly string[]): Arguments<Table> {
  const options: Table = { ...verb.options, ...GLOBAL };
  const { texts, flags, positionals } = sorted(verb, options, words);
  // --help works even when required words are missing.
  if (flags.get('help') === true) return { help: true };
  const positionalOnes = positionalValues(verb, positionals, texts);
  const named = Object.entries(options).map(([name, option]) => {
    if (option.type === 'flag') return [name, flags.get(name) ?? option.default] as const;
    return [name, valueOf(verb, option, `--${name}`, texts.get(name) ?? [])] as const;
  });
  return Object.fromEntries([...named, ...positionalOnes]);
}

/** The words of a command line by the options that they belong to. */
interface Sorted {
  readonly texts: ReadonlyMap<string, readonly string[]>;
  readonly flags: ReadonlyMap<string, boolean>;
  readonly positionals: readonly string[];
}

function sorted(verb: Verb, options: Table, words: readonly string[]): Sorted {
  const { tokens } = parseArgs({
    args: [...words],
    options: Object.fromEntries([
      ...Object.entries(options).map(([name, option]) => [name, parsedAs(option)] as const),
      ['help', { type: 'boolean', short: 'h' }],
    ]),
    strict: false,
    tokens: true,
  });
  const texts = new Map<string, string[]>();
  const flags = new Map<string, boolean>();
  const positionals: string[] = [];
  let flagBefore: string | undefined;
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (flagBefore !== undefined && /^(?:true|false)$/i.test(token.value)) {
        throw new CacheError('USAGE', `${flagBefore} takes no word after it, such as ${token.value}`, {
          hint: `write ${flagBefore}=${token.value}`,
        });
      }
      positionals.push(token.value);
      flagBefore = undefined;
      continue;
    }
    flagBefore = undefined;
    if (token.kind === 'option-terminator') continue;
    const { name, value } = token;
    const option = optionIn(options, name);
    const negated = name.startsWith('no-') ? optionIn(options, name.slice(3)) : undefined;
    if (option?.type === 'value') {
      if (texts.has(name) && option.list !== true) {
        throw new CacheError('USAGE', `--${name} is given twice, and takes one value`);
      }
      texts.set(name, [...(texts.get(name) ?? []), valueText(name, value, token.inlineValue === true)]);
    } else if (option?.type === 'flag') {
      setFlag(flags, name, value === undefined ? true : flagOf(name, value));
      if (value === undefined) flagBefore = token.rawName;
    } else if (negated?.type === 'flag' && value === undefined) {
      setFlag(flags, name.slice(3), false);
      flagBefore = token.rawName;
    } else if (negated !== undefined) {
      throw noNegation(name.slice(3), negated);
    } else {
      throw unknown(verb, options, words[token.index] ?? token.rawName, name);
    }
  }
  return { texts, flags, positionals };
}

function parsedAs(option: Option): { type: 'boolean' | 'string'; short?: string } {
  if (option.type === 'flag') return { type: 'boolean' };
  return { type: 'string', ...(option.short === undefined ? {} : { short: option.short }) };
}

/** The option with this name. A name that every object has, such as `constructor`, is no option. */
function optionIn(options: Table, name: string): Option | undefined {
  return Object.hasOwn(options, name) ? options[name] : undefined;
}

/** The text of an option's value. A next word that looks like an option is not taken for the value: mostly, the value was forgotten. */
function valueText(name: string, value: string | undefined, isInline: boolean): string {
  if (value !== undefined && value !== '' && (isInline || value === '-' || !value.startsWith('-'))) return value;
  const hint = value?.startsWith('-') ? `if ${value} is the value, write --${name}=${value}` : undefined;
  throw new CacheError('USAGE', `--${name} needs a value`, { hint });
}

function flagOf(name: string, value: string): boolean {
  const flag = parseFlag(value);
  if (flag !== undefined) return flag;
  throw new CacheError('USAGE', `--${name} takes true or false, not ${JSON.stringify(value)}`, {
    hint: `write --${name} or --${name}=false; 1, t, T, TRUE, True, 0, f, F, FALSE and False are understood as well`,
  });
}

function setFlag(flags: Map<string, boolean>, name: string, value: boolean): void {
  if ((flags.get(name) ?? value) !== value) {
    throw new CacheError('USAGE', `--${name} is both set and unset`, { hint: `leave out --${name} or --no-${name}` });
  }
  flags.set(name, value);
}

function noNegation(name: string, { type }: Option): CacheError {
  return type === 'flag'
    ? new CacheError('USAGE', `--no-${name} takes no value`, { hint: `write --no-${name}, or --${name}=false` })
    : new CacheError('USAGE', `there is no --no-${name}, since --${name} takes a value`, { hint: 'leave it out' });
}

function unknown(verb: Verb, options: Table, word: string, name: string): CacheError {
  const names = Object.entries(options).flatMap(([option, { type }]) =>
    type === 'flag' ? [option, `no-${option}`] : [option],
  );
  // parseArgs reads a word with one dash, such as -dry-run, as options of one letter.
  const isShort = !word.startsWith('--');
  const near = nearest(isShort ? word.slice(1) : name, names);
  return new CacheError('USAGE', `${verb.name} has no option ${isShort ? word : `--${name}`}`, {
    hint: `${near === undefined ? '' : `did you mean --${near}? `}"bkcache ${verb.name} --help" lists the options`,
  });
}

function valueOf(verb: Verb, option: Value, name: string, texts: readonly string[]): unknown {
  if (texts.length === 0 && option.required === true) {
    throw new CacheError('USAGE', `${verb.name} needs ${name}`, { hint: `see "bkcache ${verb.name} --help"` });
  }
  if (option.list === true) return texts.length === 0 ? undefined : texts.map((text) => option.read(text, name));
  const text = texts[0] ?? option.default;
  return text === undefined ? undefined : option.read(text, name);
}

/** The values of the positional words, by the names that the verb has for them. */
function positionalValues(
  verb: Verb,
  texts: readonly string[],
  optionTexts: Sorted['texts'],
): (readonly [string, unknown])[] {
  const words = Object.entries(verb.words);
  if (texts.length > words.length && words.at(-1)?.[1].list !== true) {
    const takes = ['no word', 'one word'][words.length] ?? `${words.length} words`;
    throw new CacheError('USAGE', `${verb.name} takes ${takes} besides its options, and was given ${texts.length}`, {
      hint: `write ${meantCommand(verb, texts, optionTexts)}; see "bkcache ${verb.name} --help"`,
    });
  }
  return words.map(([word, value], at) => {
    const name = word.toUpperCase();
    const own = value.list === true ? texts.slice(at) : texts.slice(at, at + 1);
    if (!own.includes('')) return [word, valueOf(verb, value, name, own)] as const;
    throw new CacheError('USAGE', `${name} is empty`, { hint: 'perhaps a variable on the command line is not set' });
  });
}

/**
 * The command that somebody with too many positional words meant: `copy A B` is `copy --import-cache A --export-cache B`.
 * Where the number of words fits the required options, the words are filled in.
 */
function meantCommand(verb: Verb, texts: readonly string[], optionTexts: Sorted['texts']): string {
  const words = Object.keys(verb.words);
  const isRequired = ([, option]: [string, Option]) => option.type === 'value' && option.required === true;
  const required = Object.entries(verb.options)
    .filter(isRequired)
    .map(([name]) => name);
  const missing = required.filter((name) => !optionTexts.has(name));
  if (required.length === 0) return `"bkcache ${usage(verb)}"`;
  const isFilled = texts.length === words.length + missing.length;
  const shown = (text: string | undefined, name: string) =>
    isFilled && text !== undefined && PLAIN_WORD.test(text) ? text : name.toUpperCase();
  const parts = [
    ...words.map((word, at) => shown(texts[at], word)),
    ...missing.map((name, at) => `--${name} ${shown(texts[words.length + at], name.replace(/-cache$/, ''))}`),
  ];
  const given = missing.length < required.length ? ' …' : '';
  return `"bkcache ${[verb.name, ...parts].join(' ')}${given}"`;
}

/** A word that needs no quotes in a shell, and that is no option string: an option string may contain a secret. */
const PLAIN_WORD = /^[\w./:+-]+$/;
