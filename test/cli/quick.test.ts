import test from 'ava';
import fc from 'fast-check';
import { commandParser } from '../../src/cli/commands.js';
import { CacheError } from '../../src/errors.js';
import { plainArguments } from '../../src/cli/quick.js';
import type { Verb } from '../../src/cli/verb.js';
import { VERBS } from '../../src/cli/verbs.js';

/** What yargs hands to a verb; undefined when it refuses the words. */
async function withYargs(verb: Verb, words: readonly string[]): Promise<object | undefined> {
  let seen: Readonly<Record<string, unknown>> | undefined;
  const watched = {
    ...verb,
    async run(argv: object) {
      seen = { ...argv };
    },
  };
  try {
    await commandParser([verb.name, ...words], [watched])
      .exitProcess(false)
      .parseAsync();
  } catch {
    return undefined;
  }
  const names = [...Object.keys(verb.positionals), ...Object.keys(verb.options)];
  return seen && Object.fromEntries(names.map((name) => [name, seen?.[name]]));
}

const VALUES = [
  './cache',
  'type=local,src=./a b',
  '1h',
  '0',
  '10',
  '1.50',
  'main',
  'x=1',
  'pr-*',
  'buildx',
  'true',
  '',
];

function wordsFor({ options }: Verb): fc.Arbitrary<string[]> {
  const value = fc.constantFrom(...VALUES);
  const named = Object.entries(options).map(([name, { type }]) =>
    type === 'boolean'
      ? fc.constantFrom([`--${name}`], [`--no-${name}`], [`--${name}=true`])
      : fc.oneof(
          value.map((text) => [`--${name}`, text]),
          value.map((text) => [`--${name}=${text}`]),
        ),
  );
  const odd = fc.constantFrom(['--unknown'], ['-x'], ['--'], ['--help='], ['--debug']);
  const item = fc.oneof(
    { weight: 8, arbitrary: fc.oneof(...named) },
    { weight: 4, arbitrary: value.map((text) => [text]) },
    { weight: 1, arbitrary: odd },
  );
  return fc.array(item, { maxLength: 6 }).map((items) => items.flat());
}

for (const [name, load] of VERBS) {
  test(`what is read without yargs is what yargs reads: ${name}`, async (t) => {
    const verb = await load();
    t.is(verb.name, name);
    const demanded = Object.entries(verb.options).flatMap(([name, { demandOption }]) =>
      demandOption === true ? [`--${name}`, './cache'] : [],
    );
    let plain = 0;
    await fc.assert(
      fc.asyncProperty(wordsFor(verb), fc.boolean(), async (words, isWhole) => {
        const line = isWhole ? [...words, ...demanded] : words;
        const quick = plainArguments(verb, line);
        if (quick === undefined) return;
        plain++;
        t.deepEqual(quick, (await withYargs(verb, line)) as typeof quick, line.join(' '));
      }),
      { numRuns: 100 },
    );
    t.true(plain > 0);
  });
}

test('an option with one value is not taken twice, and one with a value has no --no-', async (t) => {
  const verbs = await Promise.all([...VERBS.values()].map((load) => load()));
  const cases: [string, RegExp][] = [
    ['import-args --for buildx --for envd ./cache', /^--for takes one value, and was given 2$/],
    ['list --store ./a --store ./b', /^--store takes one value/],
    ['list --no-store', /^there is no --no-store/],
    ['list --store.x ./a', /^list has no option --store\.x$/],
    ['gc --grace 1h --no-grace ./a', /--no-grace/],
    ['copy --import-cache ./a --export-cache ./b --no-import-cache', /^there is no --no-import-cache/],
    ['copy --import-cache ./a --no-export-cache', /^there is no --no-export-cache/],
  ];
  for (const [line, message] of cases) {
    const verb = verbs.find(({ name }) => line.startsWith(`${name} `));
    t.is(verb && plainArguments(verb, line.split(' ').slice(1)), undefined);
    const parser = commandParser(line.split(' '), verbs);
    const error = await t.throwsAsync(async () => parser.parseAsync(), { instanceOf: CacheError, message }, line);
    t.is(error.code, 'USAGE');
  }
});

test('a misspelt option is named, with the nearest that there is', async (t) => {
  const verbs = await Promise.all([...VERBS.values()].map((load) => load()));
  const parser = commandParser(['copy', '--import-cach', './cache', '--export-cache', './out'], verbs);
  const error = await t.throwsAsync(async () => parser.parseAsync(), { message: 'copy has no option --import-cach' });
  t.regex((error as { hint?: string }).hint ?? '', /--import-cache/);
  // What is spelt as JavaScript would have it is none.
  const other = commandParser(['gc', '--dryRun', './a', './b'], verbs);
  await t.throwsAsync(async () => other.parseAsync(), { message: /Unknown argument: \.\/b/ });
});
