import test from 'ava';
import fc from 'fast-check';
import { editJson } from '../../src/oci/json-edit.js';

const edited = (json: string, ...edits: Parameters<typeof editJson>[1]) =>
  editJson(Buffer.from(json), edits).toString();

test('only the value changes: spaces, numbers, escapes, doubles and the order of keys stay', (t) => {
  const json =
    ' {"b" :1.50e3,\n\t"2":[ 9007199254740993 , {"x\\"]}":"\\u00e9 é"} ],"m" :"old", "1":{},"m":\t"last" }\n';
  t.is(edited(json, { path: ['m'], value: 'new<' }), json.replace('"last"', '"new\\u003c"'));
  t.is(edited(json, { path: ['2', 1, 'x"]}'], value: 7 }), json.replace('"\\u00e9 é"', '7'));
  t.is(
    edited(json, { path: ['2', 0], value: 1 }, { path: ['b'], value: 2 }),
    json.replace('9007199254740993', '1').replace('1.50e3', '2'),
  );
});

test('bytes that are no UTF-8 stay', (t) => {
  const json = Buffer.from([...Buffer.from('{"a":"'), 0xff, 0xc3, ...Buffer.from('","b":1}')]);
  t.deepEqual(editJson(json, [{ path: ['b'], value: 2 }]).subarray(0, 8), json.subarray(0, 8));
});

test('a new key goes where Go would write it, spaced like its neighbours', (t) => {
  const add = { path: ['m'], value: 1 };
  t.is(edited('{"a":0,"z":0}', add), '{"a":0,"m":1,"z":0}');
  t.is(edited('{"n":0}', add), '{"m":1,"n":0}');
  t.is(edited('{"a":0}', add), '{"a":0,"m":1}');
  t.is(edited('{}', add), '{"m":1}');
  t.is(edited('{\n  "a": 0,\n  "z": 0\n}', add), '{\n  "a": 0,\n  "m": 1,\n  "z": 0\n}');
  t.is(edited('{\n  "a": 0\n}', add), '{\n  "a": 0,\n  "m": 1\n}');
  t.is(edited('{"a":{ "b": [] }}', { path: ['a', 'c'], value: [1] }), '{"a":{ "b": [], "c": [1] }}');
});

test('a path that leads nowhere is refused', (t) => {
  for (const path of [['a', 'b'], ['l', 1], ['a', 0], []]) {
    t.throws(() => edited('{"a":1,"l":[0]}', { path, value: 1 }), { instanceOf: RangeError });
  }
});

test('any object takes a key, and is otherwise what it was', (t) => {
  const spaces = fc.constantFrom(undefined, 1, 2, '\t');
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue()),
      fc.string(),
      fc.jsonValue(),
      spaces,
      (object, key, value, space) => {
        const json = JSON.stringify(object, null, space);
        const result = JSON.parse(edited(json, { path: [key], value })) as unknown;
        t.deepEqual(result, JSON.parse(JSON.stringify({ ...(JSON.parse(json) as object), [key]: value })));
        // Put back, it is the same text again, where there was a value to put back.
        if (Object.hasOwn(object, key) && space === undefined && !/[<>&\u2028\u2029]/.test(json)) {
          t.is(edited(edited(json, { path: [key], value }), { path: [key], value: object[key] }), json);
        }
      },
    ),
  );
});
