import test from 'ava';
import fc from 'fast-check';
import { table, width } from '../../../src/report/text/table.js';
import { jsonLine, escapeControlCharacters } from '../../../src/report/text/control-characters.js';

test('names that differ look different', (t) => {
  const others = [
    'main\u200b',
    'ma\u00adin',
    'main\u2060',
    'main\ufeff',
    'main\u{e0041}',
    'main\u2028',
    'main\u2029',
    '\u202emain',
    'main\u2066',
    'main\ufe0f',
    'main\u3164',
    'main\u00a0',
    'ma\u2003in',
    'm\u0430in',
    'm\u03b1in',
    'main\u001b[8m',
    'main\u009b8m',
    'main\ue000',
    'main\ud800',
    'main ',
    ' main',
  ];
  const shown = [...others, 'main'].map((name) => table(['TAG'], [[name]]));
  t.is(new Set(shown).size, others.length + 1);
  for (const [index, text] of shown.slice(0, -1).entries()) t.true(text.includes('\\'), others[index]);
  t.is(escapeControlCharacters('main\u{e0041}'), 'main\\u{e0041}');
  t.is(escapeControlCharacters('caf\u00e9'), 'caf\u00e9');
  t.is(escapeControlCharacters('cafe\u0301'), 'cafe\\u0301');
  // What is written as an escape is no escape.
  t.is(escapeControlCharacters('main\\u200b'), 'main\\\\u200b');
  t.is(escapeControlCharacters('C:\\cache'), 'C:\\cache');
});

test('names in the scripts of the world stay readable', (t) => {
  for (const name of [
    'основная',
    'κύρια',
    '主線',
    'メイン',
    '메인',
    'मुख्य',
    'głowna',
    'größe',
    'pr-17/fix_x@2',
    '6 × 3',
    '👍',
  ])
    t.is(escapeControlCharacters(name), name);
});

test('JSON has nothing in it that is hidden, and reads as the same value', (t) => {
  t.is(jsonLine('a\u009b\u202e\u{e0041}'), '"a\\u009b\\u202e\\udb40\\udc41"\n');
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json().map(String)), (text) => {
      const line = jsonLine({ [text]: text });
      t.deepEqual(JSON.parse(line), { [text]: text });
      t.notRegex(line.slice(0, -1), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u);
    }),
  );
});

test('columns stand below each other, whatever is in them', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))), (rows) => {
      const lines = table(
        ['A', 'B'],
        rows.map(([one]) => [one, '|']),
      )
        .split('\n')
        .slice(1, -1);
      t.is(lines.length, rows.length);
      t.is(new Set(lines.map((line) => width(line.slice(0, line.lastIndexOf('|'))))).size <= 1, true);
    }),
  );
  t.is(width('主線'), 4);
});

test('a table of many rows takes time in proportion', (t) => {
  const rows = Array.from({ length: 100_000 }, (_, at) => [`tag-${at}`, 'sha256:abc', '1 kB']);
  t.is(table(['TAG', 'DIGEST', 'SIZE'], rows).split('\n').length, rows.length + 2);
});
