import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { parseImport } from '../../src/buildkit/options.js';
import { type Command, readCommandLine, readWords } from '../../src/cli/command-line.js';
import type { Value, Verb } from '../../src/cli/verb.js';
import { VERBS } from '../../src/cli/verbs.js';
import { CacheError } from '../../src/errors.js';
import { bkcache, MAIN } from '../support/command.js';
import { fixture, temporary } from '../support/fixtures.js';
import { copyFixture } from '../support/folders.js';

async function read(line: string): Promise<Command> {
  return readCommandLine(line === '' ? [] : line.split(' '));
}

async function values(line: string): Promise<Readonly<Record<string, unknown>>> {
  const command = await read(line);
  if (command.kind !== 'run') throw new Error(`${line} runs nothing`);
  return command.values;
}

async function refused(line: string): Promise<string> {
  try {
    await read(line);
  } catch (error) {
    if (error instanceof CacheError && error.code === 'USAGE') return `${error.message}; ${error.hint}`;
    throw error;
  }
  throw new Error(`${line} is not refused`);
}

async function hintOf(line: string): Promise<string> {
  const error = await read(line).then(undefined, (reason: unknown) => reason);
  if (error instanceof CacheError && error.code === 'USAGE') return error.hint ?? '';
  throw error instanceof Error ? error : new Error(`${line} is not refused`);
}

async function allVerbs(): Promise<Verb[]> {
  return Promise.all([...VERBS.values()].map((load) => load()));
}

/** The required words and options of a verb. */
function demanded({ words, options }: Verb): string[] {
  const positionals = Object.values<Value>(words).flatMap(({ required }) => (required === true ? ['x'] : []));
  const named = Object.entries(options).flatMap(([name, option]) =>
    option.type === 'value' && option.required === true ? [`--${name}=./cache`] : [],
  );
  return [...named, ...positionals];
}

test('flags of every verb take the booleans of Go, and nothing else', async (t) => {
  for (const verb of await allVerbs()) {
    for (const [name, option] of Object.entries(verb.options)) {
      if (option.type !== 'flag') continue;
      const valueOf = (...words: string[]) => readWords(verb, [...words, ...demanded(verb)])[name];
      for (const text of ['1', 't', 'T', 'TRUE', 'true', 'True']) t.true(valueOf(`--${name}=${text}`));
      for (const text of ['0', 'f', 'F', 'FALSE', 'false', 'False']) t.false(valueOf(`--${name}=${text}`));
      t.true(valueOf(`--${name}`));
      t.false(valueOf(`--no-${name}`));
      t.is(valueOf(), option.default);
      for (const text of ['yes', 'on', 'y', 'no', '', '2', 'tRUE'])
        t.throws(() => valueOf(`--${name}=${text}`), { instanceOf: CacheError, message: /takes true or false/ }, text);
      t.throws(() => valueOf(`--no-${name}=true`), { message: /takes no value/ });
      t.throws(() => valueOf(`--${name}`, `--no-${name}`), { message: /both set and unset/ });
      t.throws(() => valueOf(`--${name}`, 'false'), { message: /takes no word after it/ });
    }
  }
});

test('options with a value need one, once, and have no --no-', async (t) => {
  for (const verb of await allVerbs()) {
    for (const [name, option] of Object.entries(verb.options)) {
      if (option.type !== 'value') continue;
      const others = demanded(verb).filter((word) => !word.startsWith(`--${name}=`));
      const run = (...words: string[]) => readWords(verb, [...others, ...words]);
      const needs = { instanceOf: CacheError, message: `--${name} needs a value` };
      t.throws(() => run(`--${name}`), needs);
      t.throws(() => run(`--${name}=`), needs);
      t.throws(() => run(`--${name}`, ''), needs);
      t.throws(() => run(`--${name}`, '--'), needs);
      // What looks like an option is taken for none, so that no --dry-run becomes a pattern.
      t.throws(() => run(`--${name}`, '--dry-run'), needs);
      t.throws(() => run(`--no-${name}`), { message: /^there is no --no-/ });
      if (option.list !== true) t.throws(() => run(`--${name}=1h`, `--${name}=1h`), { message: /given twice/ });
    }
  }
});

test('what stands after -- is a word', async (t) => {
  t.like(await values('gc --dry-run -- --json'), { folder: '--json', 'dry-run': true, json: false });
  t.like(await values('prune --untag * -- ./a'), { folder: './a', untag: ['*'] });
  t.like(await values('import-args -- ./a -- -x'), { caches: ['./a', '--', '-x'] });
  t.like(await values('remove -- --help'), { name: '--help' });
});

test('words are counted, and none of them is empty', async (t) => {
  t.regex(await refused('gc ./a ./b'), /^gc takes one word .* given 2/);
  t.regex(await refused('copy ./a'), /^copy takes no word/);
  t.regex(await refused('remove'), /^remove needs NAME/);
  t.regex(await refused('import-args'), /^import-args needs CACHES/);
  t.regex(await refused('copy --import-cache ./a'), /^copy needs --export-cache/);
  t.regex(await hintOf('copy ./a ./b'), /"bkcache copy --import-cache \.\/a --export-cache \.\/b"/);
  t.regex(await hintOf('import main ./a'), /"bkcache import main --import-cache \.\/a"/);
  t.regex(await hintOf('import main ./a ./b'), /"bkcache import NAME --import-cache IMPORT"/);
  t.regex(await hintOf('copy --import-cache ./a ./b'), /"bkcache copy --export-cache \.\/b …"/);
  t.regex(await hintOf('gc ./a ./b'), /"bkcache gc \[folder\]"/);
  // An option string may have a secret in it.
  t.regex(await hintOf('copy ./a type=gha,token=secret'), /"bkcache copy --import-cache \.\/a --export-cache EXPORT"/);
  t.notRegex(await refused('copy type=gha,token=secret'), /secret/);
  for (const verb of await allVerbs()) {
    if (Object.keys(verb.words).length === 0) continue;
    t.throws(() => readWords(verb, ['']), { instanceOf: CacheError, message: /is empty$/ });
  }
});

test('what is misspelt is named, with what is near', async (t) => {
  t.regex(await refused('lst'), /^there is no command "lst"; did you mean list\?/);
  t.regex(await refused('frobnicate'), /^there is no command "frobnicate"; "bkcache --help"/);
  t.regex(await refused('copy --import-cach ./a --export-cache ./b'), /did you mean --import-cache\?/);
  t.regex(await refused('copy --import ./a'), /did you mean --import-cache\?/);
  t.regex(await refused('gc --dryRun'), /^gc has no option --dryRun; did you mean --dry-run\?/);
  t.regex(await refused('gc -dry-run'), /^gc has no option -dry-run; did you mean --dry-run\?/);
  t.regex(await refused('gc --no-dryrun'), /did you mean --no-dry-run\?/);
  t.notRegex(await refused('gc --frobnicate'), /did you mean/);
  t.notRegex(await refused('gc -x'), /did you mean/);
  t.regex(await refused('gc --constructor'), /^gc has no option --constructor/);
  t.regex(await refused('list --store.x ./a'), /^list has no option --store\.x/);
  t.regex(await refused('--json list'), /name the command first/);
  t.regex(await refused(''), /no command is named/);
});

test('help and version, however they are asked for', async (t) => {
  for (const line of ['help', '--help', '-h']) t.deepEqual(await read(line), { kind: 'help', verb: undefined }, line);
  for (const line of ['help gc', '--help gc', 'gc --help', 'gc -h', 'gc ./a ./b --store x -h', 'gc --help --grace=1h'])
    t.like(await read(line), { kind: 'help', verb: { name: 'gc' } }, line);
  t.like(await read('help rm'), { kind: 'help', verb: { name: 'remove' } });
  t.like(await read('rm a'), { kind: 'run', verb: { name: 'remove' } });
  t.regex(await refused('help frobnicate'), /there is no command/);
  t.like(await read('gc --help=false'), { kind: 'run' });
  t.deepEqual(await read('--version'), { kind: 'version' });
});

test('whatever the words are, they are read or refused, and a value is what was written', async (t) => {
  const verbs = await allVerbs();
  const odd = fc.constantFrom('--', '-', '-h', '--help', '--json', '--no-json', '--store', '--grace', '--x=', '-x=1');
  const words = fc.array(
    fc.oneof(
      odd,
      fc.string(),
      fc.string().map((text) => `--${text}`),
    ),
    { maxLength: 6 },
  );
  fc.assert(
    fc.property(fc.constantFrom(...verbs), words, (verb, line) => {
      try {
        readWords(verb, line);
      } catch (error) {
        if (!(error instanceof CacheError) || error.code !== 'USAGE') throw error;
      }
    }),
  );
  const gc = verbs.find(({ name }) => name === 'gc');
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (store, folder) => {
      if (gc === undefined) throw new Error('there is no gc');
      const read = readWords(gc, [`--store=${store}`, '--', folder]);
      t.is(read['store'], store);
      t.is(read['folder'], folder);
    }),
  );
});

test('wrong usage is exit 2 in English, whatever the language of the system', async (t) => {
  const env = { LC_ALL: 'de_DE.UTF-8', LANG: 'de_DE.UTF-8', LANGUAGE: 'de' };
  for (const args of [['gc', '--grace'], ['gc', '--frob'], ['nope'], [], ['gc', '--store', 'x', './y'], ['gc', '']]) {
    const { code, stdout, stderr } = await bkcache(args, env);
    t.is(code, 2, args.join(' '));
    t.is(stdout, '');
    t.regex(stderr, /^bkcache: /);
    t.notRegex(stderr, /Optionen|Argument|Befehl|fehl/);
  }
  const { code, stdout } = await bkcache(['help', 'gc'], env);
  t.is(code, 0);
  t.regex(stdout, /Options:/);
  t.notRegex(stdout, /Optionen|Standard|Zeichenkette/);
});

test('a limit of open files that is too low is named', (t) => {
  for (const limit of [24, 30]) {
    const { status, stderr } = spawnSync('sh', [
      '-c',
      `ulimit -n ${limit}; exec "$0" "$1" list .`,
      process.execPath,
      MAIN,
    ]);
    t.is(status, 1);
    t.regex(stderr.toString(), /^bkcache: too many files are open at once\n {2}hint: .*ulimit -n/);
  }
});

test('who has no home is asked for the store', async (t) => {
  const env = { HOME: '', XDG_CACHE_HOME: '', BKCACHE_STORE: '' };
  const { code, stderr } = await bkcache(['list'], env);
  t.is(code, 2);
  t.regex(stderr, /no home folder\n {2}hint: name the folder with --store or in BKCACHE_STORE/);
  t.is((await bkcache(['list'], { ...env, BKCACHE_STORE: fixture('max-gzip') })).code, 0);
  t.is((await bkcache(['list', '--store', fixture('max-gzip')], env)).code, 0);
});

test('import-args writes words that scripts can tell apart', async (t) => {
  const folder = join(temporary(t), 'a b\nc');
  copyFixture('max-gzip', folder);
  const line = await bkcache(['import-args', '--for', 'buildx', folder]);
  t.is(line.code, 2);
  t.regex(line.stderr, /use --null/);
  const { code, stdout } = await bkcache(['import-args', '--null', '--for', 'buildx', folder]);
  t.is(code, 0);
  const [flag, value, ...rest] = stdout.split('\0');
  t.is(flag, '--cache-from');
  t.is(parseImport(value ?? '').attributes['src'], folder);
  t.deepEqual(rest, ['']);
});
