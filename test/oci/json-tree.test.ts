import test from 'ava';
import fc from 'fast-check';
import { JsonMembers, type JsonTree, parseTree } from '../../src/oci/json-tree.js';
import { CacheError } from '../../src/errors.js';

const read = (text: string) => parseTree(Buffer.from(text), 'here');

function treeOf(value: unknown): JsonTree {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(treeOf);
  if (typeof value !== 'object' || value === null) return undefined;
  return new JsonMembers(Object.entries(value).map(([name, member]) => [name, treeOf(member)]));
}

test('any JSON is read as what it is', (t) => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      t.deepEqual(read(text), treeOf(JSON.parse(text)));
    }),
  );
});

test('every member of an object is there, and nesting is no problem', (t) => {
  t.deepEqual(
    read('{"a":"1","a":["2",{}],"__proto__":7}'),
    new JsonMembers([
      ['a', '1'],
      ['a', ['2', new JsonMembers([])]],
      ['__proto__', undefined],
    ]),
  );
  t.notThrows(() => read(`${'['.repeat(10_000)}${']'.repeat(10_000)}`));
  for (const text of ['[', '[1,]', '{"a":1,}', '{"a"}', '[1 2]', '{} {}', ''])
    t.throws(() => read(text), { instanceOf: CacheError }, text);
});
