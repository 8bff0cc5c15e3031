import test from 'ava';
import { ATTRIBUTES, type CacheType, NAMES } from '../../src/buildkit/attributes.js';
import { type CacheOptions, parseExport, parseImport } from '../../src/buildkit/options.js';
import { CacheError, type Side } from '../../src/errors.js';

const NONE: NodeJS.ProcessEnv = {};
const parse = (side: Side, text: string) => (side === 'import' ? parseImport(text, NONE) : parseExport(text, NONE));
const DIGEST = `sha256:${'a'.repeat(64)}`;

/** What each type cannot do without. */
const LEAST: Readonly<Record<CacheType, Readonly<Record<Side, string>>>> = {
  local: { import: 'type=local,src=x', export: 'type=local,dest=x' },
  registry: { import: 'type=registry,ref=x', export: 'type=registry,ref=x' },
  inline: { import: 'type=inline,src=x', export: 'type=inline,dest=x' },
  s3: { import: 'type=s3,bucket=b,region=r', export: 'type=s3,bucket=b,region=r' },
  azblob: { import: 'type=azblob,account_url=https://a', export: 'type=azblob,account_url=https://a' },
  gha: { import: 'type=gha,url=u,token=t', export: 'type=gha,url=u,token=t' },
  bundle: { import: 'type=bundle,src=x', export: 'type=bundle,dest=x' },
};
const TYPES = Object.keys(LEAST) as CacheType[];

for (const type of TYPES) {
  for (const side of ['import', 'export'] as const) {
    const least = LEAST[type][side];

    test(`type=${type} takes and leaves out, on ${side}, what only other types or the other side know`, (t) => {
      const others = [...NAMES].filter((name) => !(name in ATTRIBUTES[type][side]));
      t.true(others.length > 5);
      for (const name of others) {
        // Whatever the value is: BuildKit does not look at it, and it may be a secret.
        for (const value of ['max', '', 'hunter2']) {
          const options = parse(side, `${least},${name}=${value}`);
          t.deepEqual(options.notes, [`${name}= has no effect on an ${side} of type=${type}`]);
          t.deepEqual(options.attributes, parse(side, least).attributes);
        }
      }
    });

    test(`type=${type} refuses, on ${side}, what nobody knows`, (t) => {
      for (const name of ['mod', 'compresion', 'srcs', 'toString', '__proto__', 'image_manifest', '']) {
        const error = t.throws(() => parse(side, `${least},${name}=max`), { instanceOf: CacheError });
        t.is(error.code, 'USAGE');
        t.true(error.message.includes('knows no attribute'), name);
      }
    });

    test(`type=${type} has nothing to say, on ${side}, of what it needs`, (t) =>
      t.is(parse(side, least).notes, undefined));
  }
}

/** What is named counts. */
const COUNTS = 'counts';
/** What becomes of an attribute: it counts, a note says that it does not, or it is refused. */
type Outcome = typeof COUNTS | { readonly note: string } | { readonly error: RegExp };
const noted = (note: string): Outcome => ({ note });
const refused = (error: RegExp): Outcome => ({ error });
type Row = readonly [side: Side, type: CacheType, field: string, outcome: Outcome, beside?: string];

const empty = (name: string) => noted(`${name}= has no effect: it is empty`);
const onlyBeside = (name: string, ...others: string[]) =>
  noted(`${name}= has no effect: it needs ${others.map((other) => `${other}=`).join(' and ')}`);
const loose = (field: string, what: string) => noted(`${field} has no effect: it takes ${what}`);
const BOOLEAN = 'true or false';
const both = (rows: (side: Side) => readonly Row[]) => [...rows('import'), ...rows('export')];
const manifests = (type: 'local' | 'registry'): readonly Row[] => [
  ['export', type, 'mode=max', COUNTS],
  ['export', type, 'mode=min', COUNTS],
  ['export', type, 'mode=mid', loose('mode=mid', 'min or max')],
  ['export', type, 'mode=', loose('mode=', 'min or max')],
  ['export', type, 'ignore-error=true', COUNTS],
  ['export', type, 'ignore-error=yes', loose('ignore-error=yes', BOOLEAN)],
  ['export', type, 'image-manifest=f', COUNTS],
  ['export', type, 'image-manifest=', refused(/true or false/)],
  ['export', type, 'oci-mediatypes=0', COUNTS],
  ['export', type, 'oci-mediatypes=no', refused(/true or false/)],
  ['export', type, 'oci-mediatypes=false', refused(/needs OCI media types/), 'image-manifest=true'],
  ['export', type, 'oci-mediatypes=false', COUNTS, 'compression=zstd'],
  ['export', type, 'oci-mediatypes=false', COUNTS, 'compression=estargz'],
  ['export', type, 'compression=zstd', COUNTS],
  ['export', type, 'compression=brotli', refused(/uncompressed or gzip or estargz or zstd/)],
  ['export', type, 'compression=', refused(/uncompressed or gzip or estargz or zstd/)],
  ['export', type, 'force-compression=', COUNTS],
  ['export', type, 'force-compression=1', COUNTS],
  ['export', type, 'force-compression=x', refused(/true or false/)],
  ...['-2', '-1', '0', '+9', '09'].flatMap((level): Row[] => [
    ['export', type, `compression-level=${level}`, COUNTS],
    ['export', type, `compression-level=${level}`, COUNTS, 'compression=estargz'],
  ]),
  ...['-3', '10', '22'].flatMap((level): Row[] => [
    ['export', type, `compression-level=${level}`, refused(/gzip takes -2 to 9/)],
    ['export', type, `compression-level=${level}`, refused(/gzip takes -2 to 9/), 'compression=gzip'],
    ['export', type, `compression-level=${level}`, refused(/estargz takes -2 to 9/), 'compression=estargz'],
  ]),
  ...['-200000', '-1', '0', '22', '23', '1000', '9223372036854775807'].map((level): Row => [
    'export',
    type,
    `compression-level=${level}`,
    COUNTS,
    'compression=zstd',
  ]),
  ...['', 'x', '1.5', '1e0', ' 1', '9223372036854775808'].flatMap((level): Row[] => [
    ['export', type, `compression-level=${level}`, refused(/a whole number/)],
    ['export', type, `compression-level=${level}`, refused(/a whole number/), 'compression=zstd'],
    ['export', type, `compression-level=${level}`, refused(/a whole number/), 'compression=uncompressed'],
  ]),
  [
    'export',
    type,
    'compression-level=3',
    noted('compression-level= has no effect: compression=uncompressed has no levels'),
    'compression=uncompressed',
  ],
];

const ROWS: readonly Row[] = [
  ['import', 'local', 'tag=main', COUNTS],
  ['import', 'local', 'tag=', refused(/tag= is not possible/)],
  ['import', 'local', 'tag=', noted('tag= has no effect: digest= comes first'), `digest=${DIGEST}`],
  ['import', 'local', 'tag=main', noted('tag= has no effect: digest= comes first'), `digest=${DIGEST}`],
  ['import', 'local', `digest=${DIGEST}`, COUNTS],
  ['import', 'local', 'digest=', empty('digest')],
  ['import', 'local', 'digest=sha256:1', refused(/64 lower-case hex digits/)],
  ['export', 'local', 'tag=main', COUNTS],
  ['export', 'inline', 'tag=', refused(/needs a value/)],
  ['export', 'local', 'reset=T', COUNTS],
  ['export', 'local', 'reset=', refused(/true or false/)],
  ...manifests('local'),
  ...manifests('registry'),
  ...both((side) => [
    [side, 'registry', 'registry.insecure=true', COUNTS],
    [side, 'registry', 'registry.insecure=', refused(/true or false/)],
  ]),
  ['export', 'inline', 'mode=min', COUNTS],
  [
    'export',
    'inline',
    'mode=max',
    noted(
      'mode= has no effect: an inline cache has only the layers of its image; type=registry writes a cache without an image',
    ),
  ],
  ['export', 'inline', 'ignore-error=1', COUNTS],
  ['import', 'inline', 'digest=', empty('digest')],
  ['import', 'inline', 'tag=', refused(/tag= is not possible/)],
  ...both((side) => [
    [side, 'inline', 'registry.insecure=true', noted('registry.insecure= has no effect: the image is in a folder')],
    [side, 's3', 'name=', COUNTS],
    [side, 's3', 'prefix=', COUNTS],
    [side, 's3', 'blobs_prefix=', COUNTS],
    [side, 's3', 'manifests_prefix=', COUNTS],
    [side, 's3', 'endpoint_url=', empty('endpoint_url')],
    [side, 's3', 'use_path_style=true', COUNTS, 'endpoint_url=http://a'],
    [side, 's3', 'use_path_style=true', onlyBeside('use_path_style', 'endpoint_url')],
    [side, 's3', 'use_path_style=yes', loose('use_path_style=yes', BOOLEAN), 'endpoint_url=http://a'],
    [side, 's3', 'disable_accept_encoding=1', COUNTS],
    [side, 's3', 'disable_accept_encoding=', loose('disable_accept_encoding=', BOOLEAN)],
    [side, 's3', 'access_key_id=k', onlyBeside('access_key_id', 'secret_access_key')],
    [side, 's3', 'secret_access_key=k', onlyBeside('secret_access_key', 'access_key_id')],
    [side, 's3', 'session_token=k', onlyBeside('session_token', 'access_key_id', 'secret_access_key')],
    [side, 's3', 'session_token=', empty('session_token')],
    [side, 's3', 'retry_mode=adaptive', COUNTS],
    [side, 's3', 'retry_mode=', refused(/standard or adaptive/)],
    [side, 's3', 'retry_max_attempts=+3', COUNTS],
    [side, 's3', 'retry_max_attempts=0', refused(/from 1 on/)],
    [side, 's3', 'bucket=', refused(/needs a value/)],
    [side, 'azblob', 'name=', COUNTS],
    [side, 'azblob', 'prefix=', COUNTS],
    [side, 'azblob', 'account_name=', refused(/needs a value/)],
    [side, 'azblob', 'secret_access_key=', empty('secret_access_key')],
    [side, 'azblob', 'secret_access_key=k', COUNTS],
    [side, 'gha', 'scope=', COUNTS],
    [side, 'gha', 'version=3', COUNTS],
    [side, 'gha', 'version=v2', refused(/a whole number/)],
    [side, 'gha', 'timeout=-5m', COUNTS],
    [side, 'gha', 'timeout=1d', refused(/a duration/)],
    [side, 'gha', 'url=', refused(/needs a value/)],
    [side, 'gha', 'url_v2=v', noted('url_v2= has no effect: version=1 takes url='), 'version=1'],
  ]),
  ['export', 's3', 'name=a;b', COUNTS],
  ['import', 'azblob', 'name=a;b', COUNTS],
  ['import', 's3', 'touch_refresh=1h', noted('touch_refresh= has no effect on an import of type=s3')],
  ['import', 's3', 'upload_parallelism=2', noted('upload_parallelism= has no effect: it is about exports')],
  ['import', 's3', 'upload_parallelism=0', refused(/from 1 on/)],
  ['export', 's3', 'upload_parallelism=2', COUNTS],
  ['export', 's3', 'upload_parallelism=x', refused(/from 1 on/)],
  ['export', 's3', 'touch_refresh=1h30m', COUNTS],
  ['export', 's3', 'touch_refresh=.5h', COUNTS],
  ['export', 's3', 'touch_refresh=1d', loose('touch_refresh=1d', 'a duration such as 10m or 24h')],
  ['export', 's3', 'mode=', loose('mode=', 'min or max')],
  ['export', 'azblob', 'ignore-error=', loose('ignore-error=', BOOLEAN)],
  ...(['s3', 'azblob'] as const).flatMap((type): Row[] => [
    ['export', type, 'compression=zstd', COUNTS],
    ['export', type, 'force-compression=', COUNTS],
    ['export', type, 'compression-level=3', COUNTS],
    [
      'export',
      type,
      'compression-level=3',
      noted('compression-level= has no effect: compression=uncompressed has no levels'),
      'compression=uncompressed',
    ],
    ['import', type, 'compression=zstd', noted(`compression= has no effect on an import of type=${type}`)],
  ]),
  ['export', 'gha', 'mode=max', COUNTS],
  ['export', 'gha', 'ghtoken=g', COUNTS, 'repository=o/r'],
  ['export', 'gha', 'ghtoken=g', onlyBeside('ghtoken', 'repository')],
  ['export', 'gha', 'repository=o/r', onlyBeside('repository', 'ghtoken')],
  ['export', 'gha', 'repository=', empty('repository')],
];

for (const [side, type, field, outcome, beside] of ROWS) {
  const [name = '', value = ''] = field.split(/=(.*)/s);
  const least = LEAST[type][side]
    .split(',')
    .filter((other) => !other.startsWith(`${name}=`))
    .join(',');
  test(`${side} ${[`type=${type}`, ...(beside === undefined ? [] : [beside]), field].join(',')}`, (t) => {
    // In either order.
    const texts =
      beside === undefined ? [`${least},${field}`] : [`${least},${field},${beside}`, `${least},${beside},${field}`];
    for (const text of texts) {
      if (typeof outcome === 'object' && 'error' in outcome) {
        const error = t.throws(() => parse(side, text), { instanceOf: CacheError });
        t.is(error.code, 'USAGE');
        t.is(error.side, side);
        t.regex(`${error.message}: ${error.hint ?? ''}`, outcome.error);
        continue;
      }
      const options: CacheOptions = parse(side, text);
      const ofName = (options.notes ?? []).filter((note) => note.startsWith(`${name}=`));
      t.deepEqual(ofName, outcome === COUNTS ? [] : [outcome.note]);
      t.is(options.attributes[name], outcome === COUNTS ? value : undefined);
    }
  });
}

test('an empty tag is written, as BuildKit writes it, and a note says how it is found', (t) => {
  t.deepEqual(parseExport('type=local,dest=x,tag=', NONE), {
    type: 'local',
    attributes: { dest: 'x', tag: '' },
    notes: ['tag= is empty: this cache can be imported by its digest only'],
  });
});

test('of several names, type=s3 imports the first one', (t) => {
  const options = parseImport(`${LEAST.s3.import},name=a;b`, NONE);
  t.is(options.attributes['name'], 'a;b');
  t.deepEqual(options.notes, ['name= has no effect after the first ";": an import of type=s3 reads one name']);
});

test('a name that nothing is near to is refused without a guess', (t) => {
  const { hint = '' } = t.throws(() => parseImport('type=local,src=x,quality=9', NONE), { instanceOf: CacheError });
  t.regex(hint, /^it knows src, digest, tag$/);
});

test('gha: url= has no effect beside url_v2=, whoever gives that', (t) => {
  const note = 'url= has no effect: url_v2= comes first';
  const named = parseImport('type=gha,url=u,url_v2=v,token=t', NONE);
  t.deepEqual(named, { type: 'gha', attributes: { url_v2: 'v', token: 't' }, notes: [note] });
  const env = { ACTIONS_CACHE_SERVICE_V2: 'true', ACTIONS_RESULTS_URL: 'v', ACTIONS_CACHE_URL: 'old' };
  t.deepEqual(parseImport('type=gha,url=u,token=t', env).notes, [note]);
  // What the environment gives is not what somebody wrote.
  t.is(parseImport('type=gha,token=t', env).notes, undefined);
});

test('what an import has as src= an export has as dest=, and a string for the other one says so', (t) => {
  for (const [side, text] of [
    ['import', 'type=local,dest=x'],
    ['export', 'type=local,src=x'],
  ] as const) {
    const error = t.throws(() => parse(side, text), { instanceOf: CacheError });
    t.is(error.hint, 'an import has src=, and an export dest=');
  }
  t.is(t.throws(() => parseImport('type=registry,dest=x', NONE), { instanceOf: CacheError }).hint, undefined);
});

test('several notes come in the order of the string, and of none of them is there a secret', (t) => {
  const { notes = [] } = parseExport(
    'type=local,dest=x,mode=mid,token=hunter2,secret_access_key=hunter2,reset=1',
    NONE,
  );
  t.deepEqual(notes, [
    'mode=mid has no effect: it takes min or max',
    'token= has no effect on an export of type=local',
    'secret_access_key= has no effect on an export of type=local',
  ]);
});
