import test from 'ava';
import { array, assert, constantFrom, oneof, property, record, string } from 'fast-check';
import { formatCsvField, parseCsvLine } from '../../src/buildkit/csv.js';
import {
  compressionOptions,
  flag,
  formatOptions,
  optionsBehindPath,
  parseExport,
  parseImport,
} from '../../src/buildkit/options.js';
import { CacheError } from '../../src/errors.js';

const NONE: NodeJS.ProcessEnv = {};

/** What a refusal says, hint included; throws on any other outcome. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof CacheError && error.code === 'USAGE') return `${error.message}: ${error.hint ?? ''}`;
    throw error;
  }
  throw new Error('it was not refused');
}
const refusedImport = (text: string, env = NONE) => refusal(() => parseImport(text, env));
const refusedExport = (text: string, env = NONE) => refusal(() => parseExport(text, env));
const exported = (rest: string) => parseExport(`type=local,dest=d,${rest}`, NONE);

test('a line of CSV is cut as csvvalue cuts it', (t) => {
  t.deepEqual(parseCsvLine('a,,b,'), ['a', '', 'b', '']);
  t.deepEqual(parseCsvLine('"a,b","c""d",""'), ['a,b', 'c"d', '']);
  t.deepEqual(parseCsvLine(' a, b'), [' a', ' b']);
  t.deepEqual(parseCsvLine('a\r\n'), ['a']);
  t.deepEqual(parseCsvLine('"a\n"\n'), ['a\n']);
  for (const bad of ['a"b', 'src="a"', '"a', '"a"b', '"a" ,b', '"a""']) refusal(() => parseCsvLine(bad));
  t.pass();
});

test('a CSV line reads as the fields that it was made of', (t) => {
  const field = string({ unit: constantFrom('a', ',', '"', '\n', '\r', ' ', '=', 'é', '🐳') });
  assert(
    property(array(field, { minLength: 1 }), (fields) => {
      t.deepEqual(parseCsvLine(fields.map(formatCsvField).join(',')), fields);
    }),
  );
});

for (const text of [
  'type=local',
  'type=local,dest=',
  'type=local,dest',
  'type=,dest=x',
  'type=local,dest=x,image-manifest=yes',
  'type=local,dest=x,compression=brotli',
  'type=local,dest=x,image-manifest=true,oci-mediatypes=false',
  'type=constructor,dest=x',
]) {
  test(`refused: ${text}`, (t) => {
    const error = t.throws(() => parseExport(text, NONE), { instanceOf: CacheError });
    t.is(error.code, 'USAGE');
    t.is(error.side, 'export');
  });
}

test('keys are lower-cased, values kept, and a value is cut at its first "="', (t) => {
  t.deepEqual({ ...parseImport('type=local,SRC=./A=b,Tag=Main', NONE).attributes }, { src: './A=b', tag: 'Main' });
});

test('a digest has to be one', (t) => {
  t.regex(refusedImport('type=local,src=x,digest=../../etc/passwd'), /64 lower-case hex digits/);
  t.regex(refusedImport(`type=local,src=x,digest=sha256:${'A'.repeat(64)}`), /64 lower-case hex digits/);
  t.notThrows(() => parseImport(`type=local,src=x,digest=sha256:${'a'.repeat(64)}`, NONE));
});

test('the old form and paths take the string whole, and no attribute is named twice', (t) => {
  for (const path of ['/a', './a,b', '../type=x', './"q"', './a,b=c']) {
    t.deepEqual(parseImport(path, NONE), { type: 'local', attributes: { src: path } });
    t.deepEqual(parseExport(path, NONE), { type: 'local', attributes: { dest: path } });
  }
  t.deepEqual(parseExport('ghcr.io/a/b:c', NONE), { type: 'registry', attributes: { ref: 'ghcr.io/a/b:c' } });
  t.regex(refusedImport('type=local,src=a,SRC=b'), /src= is given twice/);
  t.regex(refusedImport('type=local,src=a,tag=a,tag=b'), /tag= is given twice.*--import-cache for each/);
  t.regex(refusedExport('type=local,type=registry,dest=a'), /type= is given twice/);
  t.false('mode' in parseExport('type=local,dest=d', NONE).attributes);
});

test('options behind a path are pointed out, with the string that has them', (t) => {
  t.regex(refusedExport('./small,mode=min'), /write type=local,dest=\.\/small,mode=min;/);
  t.regex(refusedExport('/a,b=c,Tag=x'), /tag= is part of the path/);
  t.is(parseExport('type=local,"dest=./small,mode=min"', NONE).attributes['dest'], './small,mode=min');
  t.is(optionsBehindPath('./cache,tag=main', 'import')?.code, 'USAGE');
  // Other types and sides have other attributes, and what is no path is read as it stands.
  for (const other of ['./cache,mode=min', './cache,bucket=b', 'type=local,src=./cache,tag=main', 'a/b,tag=main']) {
    t.is(optionsBehindPath(other, 'import'), undefined, other);
  }
});

test('a misspelt name is answered with the nearest that this type and direction know', (t) => {
  t.regex(refusedImport('type=local,scr=a'), /"scr".*did you mean src\?/);
  t.regex(refusedExport('type=local,dst=a'), /"dst".*did you mean dest\?/);
  t.regex(refusedExport('type=s3,bucket=b,region=r,use_path_stile=1'), /did you mean use_path_style\?/);
  t.regex(refusedImport('type=local,src=a,__proto__=x'), /knows no attribute "__proto__"/);
});

test('no refusal repeats the rest of the string, which may hold a secret', (t) => {
  const refused = ['type=s3,token=hunter2,oops', 'type=,token=hunter2', '"type=s3"x,token=hunter2'];
  for (const text of refused) t.notRegex(refusedImport(text), /hunter2/);
});

test('what is required is named, with the variable that could give it', (t) => {
  t.regex(refusedImport('type=registry'), /needs ref=/);
  t.regex(refusedExport('type=inline,tag=x'), /needs ref= or dest=/);
  t.regex(refusedImport('type=s3', { AWS_BUCKET: '' }), /needs bucket=.*AWS_BUCKET/);
  t.regex(refusedImport('type=s3,bucket=b'), /needs region=.*AWS_REGION/);
  t.regex(refusedImport('type=azblob'), /BUILDKIT_AZURE_STORAGE_ACCOUNT_URL/);
  t.regex(refusedImport('type=gha'), /ACTIONS_CACHE_URL or ACTIONS_RESULTS_URL/);
  t.regex(refusedImport('type=gha,url=http://a'), /ACTIONS_RUNTIME_TOKEN/);
});

test('booleans are exactly those of Go', (t) => {
  for (const yes of ['1', 't', 'T', 'TRUE', 'true', 'True']) t.true(flag(exported(`reset=${yes}`), 'reset'), yes);
  for (const no of ['0', 'f', 'F', 'FALSE', 'false', 'False']) t.false(flag(exported(`reset=${no}`), 'reset'), no);
  for (const bad of ['', 'yes', 'tRUE']) t.regex(refusedExport(`type=local,dest=d,reset=${bad}`), /true or false/);
  t.is(flag(exported('tag=x'), 'reset'), undefined);
  t.true(flag(exported('force-compression='), 'force-compression'));
});

test('a level is a number to whoever packs, as Go reads it', (t) => {
  for (const [text, level] of [
    ['-2', -2],
    ['+9', 9],
    ['007', 7],
  ] as const) {
    t.deepEqual(compressionOptions(exported(`compression-level=${text}`)), { level, force: false });
  }
  const options = exported('compression-level=-7,compression=zstd,force-compression=');
  t.deepEqual(compressionOptions(options), { compression: 'zstd', level: -7, force: true });
  t.regex(refusedExport('type=local,dest=d,compression-level=3,compression=lz4'), /compression=lz4 is not possible/);
});

test('gha takes the service that is switched on, and the new address where there is no old one', (t) => {
  const results = { ACTIONS_RESULTS_URL: 'new', ACTIONS_RUNTIME_TOKEN: 'k' };
  const both = { ...results, ACTIONS_CACHE_URL: 'old' };
  const on = { ...both, ACTIONS_CACHE_SERVICE_V2: 'True' };
  t.deepEqual(parseImport('type=gha', on).attributes, { url: 'old', url_v2: 'new', token: 'k' });
  t.deepEqual(parseImport('type=gha,version=1', on).attributes, { url: 'old', token: 'k', version: '1' });
  t.is(parseImport('type=gha,version=2', both).attributes['url_v2'], 'new');
  t.false('url_v2' in parseImport('type=gha', { ...both, ACTIONS_CACHE_SERVICE_V2: 'yes' }).attributes);
  t.deepEqual(parseImport('type=gha', results).attributes, { url: 'new', token: 'k' });
});

test('azblob and s3 fill in only what the string leaves out', (t) => {
  const env = { BUILDKIT_AZURE_STORAGE_ACCOUNT_URL: 'https://a.example', BUILDKIT_AZURE_STORAGE_PREFIX: 'p' };
  t.deepEqual(parseExport('type=azblob', env).attributes, { account_url: 'https://a.example', prefix: 'p' });
  t.is(parseExport('type=azblob,prefix=', env).attributes['prefix'], '');
  t.deepEqual(parseImport('type=local,src=a', env).attributes, { src: 'a' });
});

test('a formatted string reads as the same options, for every type with free text', (t) => {
  const unit = oneof(constantFrom(',', '"', '=', '\n', '\r', ' ', '/', 'type='), string({ unit: 'grapheme' }));
  const value = string({ unit, minLength: 1 }).filter((text) => text !== '');
  const options = oneof(
    record({ type: constantFrom('local' as const), attributes: record({ src: value, tag: value }) }),
    record({ type: constantFrom('registry' as const), attributes: record({ ref: value }) }),
    record({
      type: constantFrom('s3' as const),
      attributes: record({ bucket: value, region: value, prefix: string({ unit }) }),
    }),
  );
  assert(
    property(options, (given) => {
      const read = parseImport(formatOptions(given), NONE);
      t.is(read.type, given.type);
      t.deepEqual(read.attributes, { ...given.attributes });
    }),
  );
});
