import test from 'ava';
import fc from 'fast-check';
import { compressionOf, flag, formatOptions, parseExport, parseImport } from '../../src/buildkit/options.js';
import { CacheError } from '../../src/errors.js';

const NONE: NodeJS.ProcessEnv = {};
const usage = { instanceOf: CacheError };

test('keys are lower-cased, values kept, and a value is cut at its first "="', (t) => {
  t.deepEqual(parseImport('type=local,SRC=./A=b,Tag=Main', NONE), {
    type: 'local',
    attributes: { src: './A=b', tag: 'Main' },
  });
});

test('quotes are those of RFC 4180', (t) => {
  t.is(parseImport('type=local,"src=a,b ""c"""', NONE).attributes['src'], 'a,b "c"');
  for (const text of ['type=local,src=a"b', 'type=local,"src=a', 'type=local,"src=a"b']) {
    t.is(t.throws(() => parseImport(text, NONE), usage).code, 'USAGE', text);
  }
});

test('the old form is a registry, and a path is a folder', (t) => {
  t.deepEqual(parseImport('example.com/app:cache', NONE), {
    type: 'registry',
    attributes: { ref: 'example.com/app:cache' },
  });
  t.deepEqual(parseImport('./a,b', NONE), { type: 'local', attributes: { src: './a,b' } });
  t.deepEqual(parseExport('../a', NONE), { type: 'local', attributes: { dest: '../a' } });
});

test('an attribute that the type does not know names the nearest that it does', (t) => {
  const error = t.throws(() => parseExport('type=local,dest=x,compresion=gzip', NONE), usage);
  t.regex(error.hint ?? '', /did you mean compression\?/);
  t.regex(t.throws(() => parseImport('type=lokal,src=x', NONE), usage).hint ?? '', /did you mean local\?/);
});

for (const text of [
  'type=local',
  'type=local,dest=',
  'type=local,dest',
  'type=,dest=x',
  'type=local,dest=x,mode=mid',
  'type=local,dest=x,image-manifest=yes',
  'type=local,dest=x,compression=brotli',
  'type=local,dest=x,compression-level=10',
  'type=local,dest=x,compression=zstd,compression-level=23',
  'type=local,dest=x,compression=zstd,compression-level=-1',
  'type=local,dest=x,compression=gzip,compression-level=9.5',
  'type=local,dest=x,compression=uncompressed,compression-level=1',
  'type=local,dest=x,compression=zstd,oci-mediatypes=false',
  'type=local,dest=x,image-manifest=true,oci-mediatypes=false',
  'type=s3,bucket=b',
  'type=gha',
  'type=constructor,dest=x',
]) {
  test(`refused with a hint: ${text}`, (t) => {
    const error = t.throws(() => parseExport(text, NONE), usage);
    t.is(error.code, 'USAGE');
    t.is(error.side, 'export');
  });
}

test('a digest has to be one', (t) => {
  t.throws(() => parseImport('type=local,src=x,digest=../../etc/passwd', NONE), usage);
  t.throws(() => parseImport(`type=local,src=x,digest=sha256:${'A'.repeat(64)}`, NONE), usage);
  t.notThrows(() => parseImport(`type=local,src=x,digest=sha256:${'a'.repeat(64)}`, NONE));
});

test('booleans are those of Go, and an empty force-compression means true', (t) => {
  for (const [text, value] of Object.entries({
    1: true,
    t: true,
    TRUE: true,
    True: true,
    0: false,
    f: false,
    F: false,
  })) {
    t.is(flag(parseExport(`type=local,dest=x,image-manifest=${text}`, NONE), 'image-manifest'), value);
  }
  t.true(compressionOf(parseExport('type=local,dest=x,force-compression=', NONE)).force);
  t.false(compressionOf(parseExport('type=local,dest=x,force-compression=0', NONE)).force);
});

test('the environment fills in what the build tools take from it', (t) => {
  const env = {
    AWS_BUCKET: 'b',
    AWS_REGION: 'r',
    ACTIONS_CACHE_URL: 'u',
    ACTIONS_RESULTS_URL: 'v',
    ACTIONS_RUNTIME_TOKEN: 't',
  };
  t.deepEqual(parseImport('type=s3,region=mine', env).attributes, { bucket: 'b', region: 'mine' });
  t.deepEqual(parseImport('type=gha', env).attributes, { url: 'u', token: 't' });
  t.is(parseImport('type=gha', { ...env, ACTIONS_CACHE_SERVICE_V2: 'true' }).attributes['url_v2'], 'v');
});

test('what is formatted reads the same', (t) => {
  const value = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !/[\r\n]/.test(text));
  fc.assert(
    fc.property(value, fc.option(value, { nil: undefined }), (src, tag) => {
      const options = { type: 'local' as const, attributes: { src, ...(tag === undefined ? {} : { tag }) } };
      t.deepEqual(parseImport(formatOptions(options), NONE), options);
    }),
  );
});
