/**
 * Reads the text of a value.
 *
 * @param name - of the option or word, for the message
 * @throws CacheError USAGE
 */
export type Reader<T> = (text: string, name: string) => T;

/** An option without a value: `--json`, `--no-json`, `--json=false`. */
export interface Flag {
  readonly type: 'flag';
  readonly default: boolean;
  readonly describe: string;
}

/** An option with a value, or a positional word. */
export interface Value {
  readonly type: 'value';
  readonly read: Reader<unknown>;
  /** The text of the default value. */
  readonly default?: string;
  readonly required?: true;
  /** A letter for it: `-o FILE`. */
  readonly short?: string;
  /** May be given several times. */
  readonly list?: true;
  /** The kind of the value, where folders and references are easily confused. */
  readonly names?: 'cache' | 'folder or cache' | 'folder or bucket';
  readonly describe: string;
}

export type Option = Flag | Value;
export type Table = Readonly<Record<string, Option>>;
/** The positional words of a verb, in order; the last may be a list. */
export type Words = Readonly<Record<string, Value>>;

type ReadType<O> = O extends { readonly read: Reader<infer T> } ? T : never;
type Argument<O extends Option> = O extends Flag
  ? boolean
  : O extends { readonly list: true }
    ? O extends { readonly required: true }
      ? readonly ReadType<O>[]
      : readonly ReadType<O>[] | undefined
    : O extends { readonly required: true } | { readonly default: string }
      ? ReadType<O>
      : ReadType<O> | undefined;

/** The values of a command line, by the names in a table. */
export type Arguments<T extends Table> = { readonly [Name in keyof T]: Argument<T[Name]> };

/** A command of bkcache, as data for the reader of command lines, for help and for completion. */
export interface Verb<Positionals extends Words = Words, Named extends Table = Table> {
  readonly name: string;
  readonly describe: string;
  readonly words: Positionals;
  readonly options: Named;
  /** Examples for the help. Each command is whole, so that it can be pasted. */
  readonly examples: readonly Example[];
  run(argv: Arguments<Positionals & Named>): Promise<void>;
}

export type Example = readonly [what: string, command: string];

/** Checks the types of one verb, and hides them from code that handles all verbs alike. */
export function verb<Positionals extends Words, Named extends Table>(described: Verb<Positionals, Named>): Verb {
  return described;
}

/** The verb with its positional words, as the help shows it: `import <name>`. */
export function usage({ name, words }: Verb): string {
  const placed = Object.entries(words).map(([word, { list, required }]) => {
    const inner = list === true ? `${word}..` : word;
    return required === true ? `<${inner}>` : `[${inner}]`;
  });
  return [name, ...placed].join(' ');
}
