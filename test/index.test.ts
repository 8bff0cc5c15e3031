import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const INDEX = fileURLToPath(new URL('../src/index.d.ts', import.meta.url));

/** A declared name: the file, and the name in that file. */
interface Name {
  readonly file: string;
  readonly name: string;
}

/** A file of declarations, as the compiler writes it. */
interface Declarations {
  /** The text of each declaration, without comments. */
  readonly texts: ReadonlyMap<string, string>;
  /** The names that the file imports or exports from other files. */
  readonly imported: ReadonlyMap<string, Name>;
}

const files = new Map<string, Declarations>();

function declarationsIn(file: string): Declarations {
  const known = files.get(file) ?? read(file);
  files.set(file, known);
  return known;
}

function read(file: string): Declarations {
  const text = readFileSync(file, 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
  const texts = new Map<string, string>();
  for (const part of text.split(/^(?=export|declare|interface|type|class|import)/m)) {
    const [, name] = /^(?:export )?(?:declare )?(?:function|class|interface|type|const) (\w+)/.exec(part) ?? [];
    if (name !== undefined) texts.set(name, part.replaceAll(/'[^']*'/g, ''));
  }
  const imported = new Map<string, Name>();
  for (const [, names = '', from = ''] of text.matchAll(
    /(?:import|export) (?:type )?\{([^}]*)\} from '(\.[^']*)\.js'/g,
  )) {
    for (const item of names.split(',').filter((each) => each.trim() !== '')) {
      const [, name = '', local = name] = /^\s*(?:type )?(\w+)(?: as (\w+))?\s*$/.exec(item) ?? [];
      imported.set(local, { file: join(dirname(file), `${from}.d.ts`), name });
    }
  }
  return { texts, imported };
}

/** The file that declares a name; undefined for a type parameter, and for a type of JavaScript or a package. */
function declaredAt(file: string, name: string): Name | undefined {
  const { texts, imported } = declarationsIn(file);
  if (texts.has(name)) return { file, name };
  const other = imported.get(name);
  return other === undefined || !existsSync(other.file) ? undefined : declaredAt(other.file, other.name);
}

const keyOf = ({ file, name }: Name) => `${name} (${file.slice(dirname(INDEX).length + 1)})`;

/** The types in a declaration. A constant behind `typeof` is a value, whose type the declaration shows in full. */
function typesIn({ file, name }: Name): Name[] {
  const text = declarationsIn(file).texts.get(name) ?? '';
  const words = text.replaceAll(/typeof \w+/g, '').match(/\b[A-Z]\w*/g) ?? [];
  return words.flatMap((word) => (word === name ? [] : (declaredAt(file, word) ?? [])));
}

test('the types that the exported functions and classes use are exported, and no others', (t) => {
  const exported = [...declarationsIn(INDEX).imported.keys()].flatMap((name) => declaredAt(INDEX, name) ?? []);
  t.true(exported.length > 20);
  const isUsed = ({ file, name }: Name) =>
    /^(?:export )?(?:declare )?(?:function|class) /.test(declarationsIn(file).texts.get(name) ?? '');
  const needed = new Map(exported.filter(isUsed).map((name) => [keyOf(name), name]));
  // A map that grows while it is walked is walked to its end.
  for (const name of needed.values()) for (const type of typesIn(name)) needed.set(keyOf(type), type);
  const known = new Set(exported.map(keyOf));
  const missing = [...needed.keys()].filter((key) => !known.has(key));
  const others = [...known].filter((key) => !needed.has(key));
  t.deepEqual({ missing, others }, { missing: [], others: [] });
});
