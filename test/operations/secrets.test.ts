import { readdirSync, readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { inspect } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { shownOptions } from '../../src/buildkit/options.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { exportCache } from '../../src/operations/export.js';
import { catCache } from '../../src/operations/files/cat.js';
import { listFiles } from '../../src/operations/files/list-files.js';
import { collectGarbage } from '../../src/operations/gc.js';
import { importCache } from '../../src/operations/import.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { listCaches } from '../../src/operations/list.js';
import { prune } from '../../src/operations/prune/prune.js';
import { repairFolder } from '../../src/operations/repair/repair.js';
import { resolveCache } from '../../src/operations/resolve.js';
import { verifyCache, verifyFolder } from '../../src/operations/verify/verify.js';
import { bkcache } from '../support/command.js';
import { FakeAzblob, refuse as refuseAzblob } from '../support/fake-azblob.js';
import { FakeS3, refuse as refuseS3 } from '../support/fake-s3.js';
import { fixture, importOf, temporary } from '../support/fixtures.js';

// Each is found by its first characters, wherever it is cut.
const ID = 'AKIACANARY7EXAMPLE77';
const SECRET = 'cAnArYsEcReT/wJalrXUtnFEMI+K7MDENG';
const TOKEN = 'cAnArYtOkEn/IQoJb3JpZ2luX2VjEEYaCXVzLWVhc3QtMSJGMEQCIA==';
const KEY = Buffer.from('cAnArY key of an account').toString('base64');
const SIGNATURE = 'cAnArYsIg%2FQ7examples0of1a2SAS%3D';
const NEEDLES = [ID.slice(0, 10), ...[SECRET, TOKEN, KEY, SIGNATURE].map((secret) => secret.slice(0, 9))];

const [BLOB = ''] = readdirSync(join(fixture('s3-bucket'), 'blobs'));

/** What a service does to a request. Whatever the request had in it comes back in the answer. */
type Fault = (
  repeated: string,
  answer: ServerResponse,
  refuse: typeof refuseS3 | typeof refuseAzblob,
  isRead: boolean,
) => boolean;

const FAULTS: Readonly<Record<string, Fault>> = {
  none: () => false,
  refused: (message, answer, refuse) => done(refuse(answer, 403, 'AccessDenied', { message })),
  'an unknown user': (message, answer, refuse) => done(refuse(answer, 403, 'InvalidAccessKeyId', { message })),
  'wrong signature': (message, answer, refuse) => done(refuse(answer, 403, 'AuthenticationFailed', { message })),
  'an unknown code': (message, answer, refuse) => done(refuse(answer, 400, 'Unheard', { message })),
  moved: (message, answer) =>
    done(
      answer.writeHead(301, { location: `/${encodeURIComponent(message)}`, 'x-amz-bucket-region': 'a-region' }).end(),
    ),
  'no answer of the service': (message, answer) =>
    done(answer.writeHead(418, { 'content-type': 'text/html' }).end(message)),
  'no cacheconfig': (_, answer, __, isRead) => {
    const body = JSON.stringify({ layers: [{ blob: 'x' }] });
    const headers = { etag: '"x"', 'content-length': Buffer.byteLength(body) };
    return isRead && done(answer.writeHead(200, headers).end(body));
  },
};

/** A request is answered, whatever the call for that returns. */
function done(answered: unknown): boolean {
  return answered !== false;
}

interface Place {
  readonly at: string;
  /** Breaks the service; requests before that were answered. */
  readonly fail: (fault: Fault) => void;
  /** What gc is told. */
  readonly prefix: string;
}

const SERVICES: Readonly<Record<string, (t: ExecutionContext) => Promise<Place>>> = {
  s3,
  'azblob with a key': (t) => container(t, (url) => `account_url=${url},secret_access_key=${KEY}`),
  'azblob with a SAS': withSas,
};

async function s3(t: ExecutionContext): Promise<Place> {
  const fake = await FakeS3.start(t);
  const keys = `access_key_id=${ID},secret_access_key=${SECRET},session_token=${TOKEN},retry_max_attempts=1`;
  return {
    at: `${fake.fill().replace(/,access_key_id=.*/, '')},${keys}`,
    prefix: 'manifests/',
    fail(fault) {
      fake.fault = ({ headers, query, method }, answer) => {
        const isRead = method === 'GET' && !query.has('list-type');
        return fault(repeated(headers, query), answer, refuseS3, isRead);
      };
    },
  };
}

function withSas(t: ExecutionContext): Promise<Place> {
  return container(t, (url) => `account_url=${url}?sv=2024-11-04&se=2099-01-01&sig=${SIGNATURE}`);
}

async function container(t: ExecutionContext, access: (url: string) => string): Promise<Place> {
  const fake = await FakeAzblob.start(t);
  for (const folder of ['blobs', 'manifests']) {
    for (const name of readdirSync(join(fixture('s3-bucket'), folder)))
      fake.set(`${folder}/${name}`, readFileSync(join(fixture('s3-bucket'), folder, name)));
  }
  return {
    at: `type=azblob,container=container,account_name=account,${access(`http://${fake.host}/account`)}`,
    prefix: 'manifests',
    fail(fault) {
      fake.fault = ({ headers, query, method }, answer) => {
        const isRead = method === 'GET' && !query.has('comp');
        return fault(repeated(headers, query), answer, refuseAzblob, isRead);
      };
    },
  };
}

function repeated(headers: object, query: URLSearchParams): string {
  return `${[...query].join(' ')} ${JSON.stringify(headers)} ${KEY} ${SECRET}`;
}

/** All that a caller of a verb gets to see, as one text. */
type Seen = (text: unknown) => void;

async function all(pieces: AsyncIterable<unknown>): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const piece of pieces) found.push(piece);
  return found;
}

interface Scene {
  readonly at: string;
  readonly prefix: string;
  readonly folder: string;
  readonly onNote: Seen;
}

const VERBS: Readonly<Record<string, (scene: Scene) => Promise<unknown>>> = {
  copy: ({ at, folder, onNote }) =>
    copyCache({ imports: [`${at},name=tiny`], exports: [`type=local,dest=${folder}`], onNote, onProgress: onNote }),
  'copy into it': ({ at, onNote }) =>
    copyCache({ imports: [importOf('max-gzip')], exports: [`${at},name=new`], onNote, onProgress: onNote }),
  'copy within it': ({ at, onNote }) =>
    copyCache({
      imports: [`${at},name=tiny`],
      exports: [`${at},name=zstd,compression=zstd,force-compression=true`],
      onNote,
      onProgress: onNote,
    }),
  import: ({ at, folder, onNote }) => importCache(folder, 'main', [`${at},name=tiny`], { onNote }),
  export: ({ at, onNote }) => exportCache(fixture('max-gzip'), 'latest', [`${at},name=new`], { onNote }),
  resolve: ({ at, onNote }) => resolveCache(`${at},name=tiny`, { onNote }),
  'resolve what is missing': ({ at, onNote }) => resolveCache(`${at},name=missing`, { onNote }),
  inspect: ({ at, onNote }) => inspectCache(`${at},name=tiny`, { onNote }),
  list: ({ at, onNote }) => listCaches(at, { onNote }),
  files: ({ at, onNote }) => all(listFiles(`${at},name=tiny`, { onNote })),
  cat: ({ at, onNote }) => all(catCache(`${at},name=tiny`, BLOB, { onNote })),
  verify: ({ at, onNote }) => verifyFolder(at, { deep: true, onNote }),
  'verify a name': ({ at, onNote }) => verifyCache(`${at},name=tiny`, { deep: true, onNote }),
  prune: ({ at }) => prune(at, { untag: ['t*'] }),
  gc: ({ at, prefix }) => collectGarbage(at, { manifestsPrefixes: [prefix] }),
  repair: ({ at, folder, onNote }) => repairFolder(folder, { from: [`${at},name=tiny`], onNote }),
};

for (const [service, start] of Object.entries(SERVICES)) {
  for (const [kind, fault] of Object.entries(FAULTS)) {
    test(`no verb shows a secret: ${service}, ${kind}`, async (t) => {
      const written = temporary(t);
      process.env['XDG_CACHE_HOME'] = written;
      for (const [verb, run] of Object.entries(VERBS)) {
        const { at, prefix, fail } = await start(t);
        fail(fault);
        const said: string[] = [];
        const onNote = (value: unknown) => said.push(JSON.stringify(value));
        const folder = join(written, 'folder');
        if (verb === 'repair') await copyCache({ imports: [importOf('max-gzip')], exports: [folder] });
        const result = await run({ at, prefix, folder, onNote }).catch((error: unknown) => error);
        // As a program prints what it caught, with all causes.
        said.push(inspect(result, { depth: 9 }), JSON.stringify(result));
        if (result instanceof Error) said.push(result.stack ?? '');
        for (const text of said) for (const needle of NEEDLES) t.false(text.includes(needle), `${verb}: ${text}`);
      }
      for (const entry of readdirSync(written, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const bytes = readFileSync(join(entry.parentPath, entry.name));
        for (const needle of NEEDLES) t.false(bytes.includes(needle), entry.name);
      }
    });
  }

  if (service === 'azblob with a key') continue;

  test(`the command shows no secret: ${service}`, async (t) => {
    const { at, prefix, fail } = await start(t);
    const [name, folder] = [`${at},name=tiny`, temporary(t)];
    const commands = [
      ['copy', '--import-cache', name, '--export-cache', folder],
      ['copy', '--json', '--import-cache', importOf('max-gzip'), '--export-cache', `${at},name=new`],
      // The command that was meant is shown.
      ['copy', name, folder],
      ['inspect', '--json', name],
      ['list', at],
      ['verify', '--json', '--deep', at],
      ['gc', at],
      ['gc', '--dry-run', '--manifests-prefix', prefix, at],
      ['prune', '--untag', 'x', name],
      ['repair', name],
      ['remove', 'tiny', '--store', at],
    ];
    const all = commands.map((args) => bkcache([...args, '--debug'], { XDG_CACHE_HOME: folder }));
    fail(FAULTS['refused'] ?? t.fail);
    all.push(...['inspect', 'resolve', 'import-args'].map((verb) => bkcache([verb, '--debug', name])));
    for (const { stdout, stderr } of await Promise.all(all))
      for (const needle of NEEDLES) t.false(`${stdout}${stderr}`.includes(needle), `${stdout}${stderr}`);
  });
}

test('no message about an option string shows a secret of it', async (t) => {
  const texts = [
    `type=s3,bucket=b,region=r,secret_access_key=x,${SECRET}`,
    `type=s3,bucket=b,region=r,secret_access_key=${SECRET}"`,
    `type=s3,bucket=b,region=r,"secret_access_key=${SECRET}`,
    `type=s3,bucket=b,region=r,"secret_access_key=${SECRET}"x`,
    `type=s3,bucket=b,region=r,secret_access_kay=${SECRET}`,
    `type=s3,secret_access_key=${SECRET}`,
    `type=s5,secret_access_key=${SECRET}`,
    `type=s3,bucket=b,region=r,secret_access_key=${SECRET},secret_access_key=${SECRET}`,
    `bucket=b,region=r,secret_access_key=${SECRET}`,
    `secret_access_key=${SECRET}`,
    `type=local,src=/nowhere,secret_access_key=${SECRET}`,
    `type=s3,bucket=b,region=r,endpoint_url=http://user:${SECRET}@127.0.0.1:1`,
    `type=s3,bucket=b,region=r,endpoint_url=127.0.0.1/${SECRET}`,
    `type=azblob,account_url=https://user:${SECRET}@a.blob.core.windows.net`,
    `type=azblob,account_url=a.blob.core.windows.net?sig=${SIGNATURE}`,
    `type=azblob,account_url=https://a.blob.core.windows.net,secret_access_key=sv=1&sig=${SIGNATURE}`,
  ];
  for (const text of texts) {
    const notes: string[] = [];
    const reading = { onNote: (note: string) => notes.push(note) };
    for (const run of [resolveCache, listCaches]) {
      const error = await t.throwsAsync(run(text, reading), undefined, text);
      const said = `${inspect(error, { depth: 9 })} ${notes.join(' ')}`;
      for (const needle of NEEDLES) t.false(said.includes(needle), `${text}: ${said}`);
    }
  }
  const sas = `https://a.blob.core.windows.net/?sv=1&sig=${SIGNATURE}&se=2`;
  const shown = shownOptions({ type: 'azblob', attributes: { account_url: sas, secret_access_key: KEY } });
  t.is(shown, 'type=azblob,account_url=https://a.blob.core.windows.net/?sv=1&sig=***&se=2,secret_access_key=***');
});

test('import-args prints the secrets of its strings, and says so', async (t) => {
  const { at } = await s3(t);
  const { code, stdout, stderr } = await bkcache(['import-args', `${at},name=tiny`]);
  t.is(code, 0, stderr);
  t.true(stdout.includes(`secret_access_key=${SECRET}`));
  t.regex(stderr, /note: .*secret/);
  for (const needle of NEEDLES) t.false(stderr.includes(needle));
});

test('import-args leaves out a SAS, which BuildKit does not take', async (t) => {
  const { at } = await withSas(t);
  const { code, stdout, stderr } = await bkcache(['import-args', `${at},name=tiny`]);
  t.deepEqual([code, stdout], [0, '']);
  t.regex(stderr, /left out .*BuildKit takes no SAS/);
  for (const needle of NEEDLES) t.false(stderr.includes(needle));
});
