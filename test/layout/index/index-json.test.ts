import test from 'ava';
import type { Descriptor } from '../../../src/oci/descriptor.js';
import {
  decodeIndex,
  encodeIndex,
  findTag,
  LAST_USED,
  withoutTag,
  withTag,
} from '../../../src/layout/index/index-json.js';
import { sha256 } from '../../../src/oci/digest.js';

const REF = 'org.opencontainers.image.ref.name';
const entry = (tag: string, more = '') =>
  `{"mediaType":"application/x","digest":"${sha256(tag)}","size":7,"annotations":{"${REF}":"${tag}"}${more}}`;
/** What no double holds, what stands for nothing, what Go writes in another way, and bytes that are no UTF-8. */
const STRANGE = ',"big":12345678901234567890,"nul":null,"x":[9007199254740993, 1.0,"<é\xff"]';
const decode = (text: string) => decodeIndex(Buffer.from(text, 'latin1'), 'index.json');
const encode = (index: ReturnType<typeof decode>) => encodeIndex(index).toString('latin1');
const HEAD = '"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"';
const strange = (...entries: string[]) => `{${HEAD},"manifests":[${entries.join(',')}]${STRANGE}}`;

test('entries and fields of others stay the text that they were', (t) => {
  const index = decode(strange(entry('a', STRANGE), entry('b')));
  t.is(encode(index), strange(entry('a', STRANGE), entry('b')));
  const added = withTag(index, 'c', { mediaType: 'application/x', digest: sha256('c'), size: 7 });
  t.is(encode(added), strange(entry('a', STRANGE), entry('b'), entry('c')));
  t.is(encode(withoutTag(added, 'b')), strange(entry('a', STRANGE), entry('c')));
});

test('an entry that is changed keeps what was not', (t) => {
  const index = decode(strange(entry('a', STRANGE)));
  const found = findTag(index, 'a');
  if (found === undefined) return t.fail();
  const annotations = { ...found.annotations, [LAST_USED]: new Date(0).toISOString() };
  const changed = { ...found, annotations, digest: sha256('other'), size: 8 };
  const expected = entry('a', STRANGE)
    .replace(sha256('a'), sha256('other'))
    .replace('"size":7', '"size":8')
    .replace('"annotations":{', '"annotations":{"dev.bkcache.last-used":"1970-01-01T00:00:00.000Z",');
  t.is(encode({ ...index, manifests: [changed] }), strange(expected));
});

test('an entry that gets a field or loses one is written as Go would', (t) => {
  const bare = `{"size":7,"digest":"${sha256('a')}"}`;
  const index = decode(`{"manifests":[${bare},${entry('b')}]}`);
  t.is(encode(index), `{${HEAD},"manifests":[${bare},${entry('b')}]}`);
  const [first, second] = index.manifests;
  if (first === undefined || second === undefined) return t.fail();
  const tagged = { ...first, mediaType: 'application/x', annotations: { [REF]: 'a' } };
  const { annotations: _, ...plain } = second;
  t.is(
    encode({ ...index, manifests: [tagged, plain] }),
    `{${HEAD},"manifests":[${entry('a')},${entry('b').replace(/,"annotations":\{.*?\}/, '')}]}`,
  );
});

test('an index without entries, or spread over lines', (t) => {
  t.is(encode(decode('{}')), `{${HEAD},"manifests":[]}`);
  t.is(encode(decode('{"manifests":null,"a":null}')), `{${HEAD},"manifests":[],"a":null}`);
  const lines = decode(`{\n  "manifests": [\n    ${entry('a')}\n  ],\n  "n": { "a" : 1 }\n}\n`);
  t.is(encode(lines), `{${HEAD},"manifests":[${entry('a')}],"n":{ "a" : 1 }}`);
});

test('names in another case are read as Go reads them, and stay as they are', (t) => {
  const text = entry('a').replace('"digest"', '"Digest"').replace('"annotations"', '"Annotations"');
  const index = decode(`{"schemaVersion":2,"Manifests":[${text}],"n":9007199254740993}`);
  t.is(index.manifests[0]?.digest, decode(`{"manifests":[${entry('a')}]}`).manifests[0]?.digest);
  t.is(encode(index), `{${HEAD},"manifests":[${text}],"n":9007199254740993}`);
  const [first] = index.manifests;
  const changed = { ...index, manifests: [{ ...first, annotations: { ...first?.annotations, z: '1' } } as Descriptor] };
  t.deepEqual(decode(encode(changed)).manifests[0]?.annotations, { ...first?.annotations, z: '1' });
});

test('of a list that is there twice, what Go makes of both is written', (t) => {
  const index = decode(`{"manifests":[${entry('a')},${entry('b')}],"manifests":[{"size":7}]}`);
  const [only, ...others] = decode(encode(index)).manifests;
  t.like(only, { ...decode(`{"manifests":[${entry('a')}]}`).manifests[0], size: 7 });
  t.deepEqual(others, []);
});
