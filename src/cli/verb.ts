import type { InferredOptionTypes, Options } from 'yargs';

export type Table = Readonly<Record<string, Options>>;
export type Arguments<T extends Table> = InferredOptionTypes<T>;

/** What one word after `bkcache` does. It is data, so that a command line can be read without loading yargs. */
export interface Verb<Positionals extends Table = Table, Named extends Table = Table> {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly describe: string;
  /** The words after the verb, in order. */
  readonly positionals: Positionals;
  readonly options: Named;
  /** For its help: what a command is for, and the command, whole, so that it can be pasted. */
  readonly examples: readonly Example[];
  run(argv: Arguments<Positionals & Named>): Promise<void>;
}

export type Example = readonly [what: string, command: string];

/** Checks a verb's own types, and hides them from those that handle all verbs alike. */
export function verb<Positionals extends Table, Named extends Table>(described: Verb<Positionals, Named>): Verb {
  return described;
}

/** `import <name>`, as yargs and its help have it. */
export function usage({ name, positionals }: Verb): string {
  const words = Object.entries(positionals).map(([word, { array, demandOption }]) => {
    const inner = array === true ? `${word}..` : word;
    return demandOption === true ? `<${inner}>` : `[${inner}]`;
  });
  return [name, ...words].join(' ');
}
