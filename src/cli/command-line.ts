import { parseArgs } from 'node:util';
import { nearest } from '../nearest.js';
import { parseFlag } from '../buildkit/values.js';
import { CacheError } from '../errors.js';
import { type Arguments, type Flag, type Option, type Table, usage, type Value, type Verb } from './verb.js';
import { ALIASES, VERBS } from './verbs.js';

/** What a command line asks for. */
export type Command =
  | { readonly kind: 'run'; readonly verb: Verb; readonly values: Arguments<Table>; readonly debug: boolean }
  /** Of one verb, or of all. */
  | { readonly kind: 'help'; readonly verb: Verb | undefined }
  | { readonly kind: 'version' };

/** The options of every verb. */
export const GLOBAL = {
  help: { type: 'flag', default: false, describe: 'Show help' },
  debug: { type: 'flag', default: false, describe: 'Show where an error came from' },
} as const satisfies Readonly<Record<string, Flag>>;

/**
 * Reads the words after `bkcache`. This is the one place that does: what it does not take is refused, so that no slip
 * turns into another command.
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
  const { texts, flags, placed } = sorted(verb, options, words);
  // Who asks for help gets it, whatever is missing.
  if (flags.get('help') === true) return { help: true };
  const placedOnes = placedValues(verb, placed);
  const named = Object.entries(options).map(([name, option]) => {
    if (option.type === 'flag') return [name, flags.get(name) ?? option.default] as const;
    return [name, valueOf(verb, option, `--${name}`, texts.get(name) ?? [])] as const;
  });
  return Object.fromEntries([...named, ...placedOnes]);
}

interface Sorted {
  readonly texts: ReadonlyMap<string, readonly string[]>;
  readonly flags: ReadonlyMap<string, boolean>;
  readonly placed: readonly string[];
}

/** The words by the options that they belong to. */
function sorted(verb: Verb, options: Table, words: readonly string[]): Sorted {
  const { tokens } = parseArgs({
    args: [...words],
    options: Object.fromEntries([
      ...Object.entries(options).map(
        ([name, { type }]) => [name, { type: type === 'flag' ? 'boolean' : 'string' }] as const,
      ),
      ['help', { type: 'boolean', short: 'h' }],
    ]),
    strict: false,
    tokens: true,
  });
  const texts = new Map<string, string[]>();
  const flags = new Map<string, boolean>();
  const placed: string[] = [];
  let flagBefore: string | undefined;
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (flagBefore !== undefined && /^(?:true|false)$/i.test(token.value)) {
        throw new CacheError('USAGE', `${flagBefore} takes no word after it, such as ${token.value}`, {
          hint: `write ${flagBefore}=${token.value}`,
        });
      }
      placed.push(token.value);
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
      texts.set(name, [...(texts.get(name) ?? []), textOf(name, value, token.inlineValue === true)]);
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
  return { texts, flags, placed };
}

/** An option under its own name; `constructor` is none. */
function optionIn(options: Table, name: string): Option | undefined {
  return Object.hasOwn(options, name) ? options[name] : undefined;
}

/** The text of an option's value. The next word is none when it looks like an option: a slip, more often than not. */
function textOf(name: string, value: string | undefined, isInline: boolean): string {
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
    throw new CacheError('USAGE', `--${name} is said and taken back`, { hint: 'leave one of the two out' });
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
  // Of a word such as -dry-run, which begins with one dash, only the first letter is an option.
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

/** The words that stand by themselves, by the names that the verb has for them. */
function placedValues(verb: Verb, texts: readonly string[]): (readonly [string, unknown])[] {
  const places = Object.entries(verb.words);
  if (texts.length > places.length && places.at(-1)?.[1].list !== true) {
    const takes = ['no word', 'one word'][places.length] ?? `${places.length} words`;
    // The words are not shown: one may be an option string with a secret in it.
    throw new CacheError('USAGE', `${verb.name} takes ${takes} beside its options, and was given ${texts.length}`, {
      hint: `it is used as "bkcache ${usage(verb)}"; see "bkcache ${verb.name} --help"`,
    });
  }
  return places.map(([word, place], at) => {
    const name = word.toUpperCase();
    const own = place.list === true ? texts.slice(at) : texts.slice(at, at + 1);
    if (!own.includes('')) return [word, valueOf(verb, place, name, own)] as const;
    throw new CacheError('USAGE', `${name} is empty`, { hint: 'a variable that stands there may not be set' });
  });
}
