import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { sha256 } from '../../../../src/oci/digest.js';
import { copyCache } from '../../../../src/operations/copy/copy.js';
import { collectGarbage } from '../../../../src/operations/gc.js';
import { inspectCache } from '../../../../src/operations/inspect.js';
import { listCaches } from '../../../../src/operations/list.js';
import { prune } from '../../../../src/operations/prune/prune.js';
import { resolveCache } from '../../../../src/operations/resolve.js';
import { verifyFolder } from '../../../../src/operations/verify/verify.js';
import { type AzblobSeen, FakeAzblob } from '../../../support/fake-azblob.js';
import { FakeS3, type S3Seen } from '../../../support/fake-s3.js';
import { fixture, importOf, temporary } from '../../../support/fixtures.js';

const PAGE = fileURLToPath(new URL('../../../../../docs/object-stores.md', import.meta.url));

/** A row of the table of rights. */
interface Row {
  readonly needs: ReadonlySet<string>;
  readonly better: ReadonlySet<string>;
  /** Letters of a SAS, needed and better. */
  readonly letters: readonly [string, string];
}

/** The rows by what their first column has in it. */
function rowOf(t: ExecutionContext, name: string): Row {
  const [, section = ''] = readFileSync(PAGE, 'utf8').split('\n## Rights\n');
  const row = section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1)
        .map((cell) => cell.trim()),
    )
    .find(([first = '']) => first.includes(name));
  if (row === undefined) return t.fail(`no row of ${PAGE} is for ${name}`);
  const [, needs = '', better = '', sas = ''] = row;
  const [least = '', best = least] = [...sas.matchAll(/`(\w+)`/g)].map(([, letters = '']) => letters);
  const actions = (cell: string) => new Set([...cell.matchAll(/s3:\w+/g)].map(([action]) => action));
  return { needs: actions(needs), better: actions(better), letters: [least, best] };
}

/** The rights that S3 wants for a request. */
function actionsOf({ method, key, query, headers }: S3Seen): string[] {
  if (key === '' || query.has('list-type')) {
    if (method === 'POST' && query.has('delete')) return ['s3:DeleteObject'];
    if (query.has('uploads')) return ['s3:ListBucketMultipartUploads'];
    if (query.has('versioning')) return ['s3:GetBucketVersioning'];
    if (query.has('object-lock')) return ['s3:GetBucketObjectLockConfiguration'];
    return ['s3:ListBucket'];
  }
  if (method === 'DELETE') return [query.has('uploadId') ? 's3:AbortMultipartUpload' : 's3:DeleteObject'];
  if (method === 'GET' && query.has('uploadId')) return ['s3:ListMultipartUploadParts'];
  if (method === 'GET' || method === 'HEAD') return ['s3:GetObject'];
  return headers['x-amz-copy-source'] === undefined ? ['s3:PutObject'] : ['s3:PutObject', 's3:GetObject'];
}

/** The letters that a SAS needs for a request; none for what no SAS of a container allows, and no command depends on. */
function lettersOf({ method, query, headers }: AzblobSeen): string[] {
  if (query.get('comp') === 'list') return ['l'];
  if (query.get('restype') === 'container') return [];
  if (method === 'DELETE') return ['d'];
  if (method === 'GET' || method === 'HEAD') return ['r'];
  return headers['x-ms-copy-source'] === undefined ? ['w'] : ['w', 'r'];
}

/** What is done with a bucket, by words of the first column. `old` has blobs that no name needs. */
const COMMANDS: Readonly<Record<string, (t: ExecutionContext, at: string, manifests: string) => Promise<unknown>>> = {
  '`resolve`': (_, at) => resolveCache(`${at},name=tiny`),
  '`inspect`': (_, at) => inspectCache(`${at},name=tiny`),
  'the imports of': (t, at) =>
    copyCache({ imports: [`${at},name=tiny`], exports: [`type=local,dest=${temporary(t)}`] }),
  'the exports of': (_, at) => copyCache({ imports: [importOf('max-gzip')], exports: [`${at},name=new`] }),
  '`list`': (_, at) => listCaches(at),
  '`verify`': (_, at) => verifyFolder(at, { deep: true }),
  '`prune`': (_, at) => prune(at, { untag: ['other'], maxSize: 8000 }),
  '`gc`': (_, at, manifests) => collectGarbage(at, { manifestsPrefixes: [manifests] }),
};
const GARBAGE = `blobs/${sha256('garbage')}`;

for (const [name, run] of Object.entries(COMMANDS)) {
  test(`the table of rights is true: S3, ${name}`, async (t) => {
    const fake = await FakeS3.start(t);
    const at = fake.fill();
    fake.objects.set('manifests/other', Buffer.from(fake.objects.get('manifests/tiny') ?? ''));
    fake.objects.set(GARBAGE, Buffer.from('garbage'));
    fake.written.set(fake.objects.get(GARBAGE) ?? Buffer.of(), Date.now() - 10 * 86_400_000);
    await run(t, at, 'manifests/');
    const { needs, better } = rowOf(t, name);
    const asked = new Set(fake.all.flatMap(actionsOf));
    for (const action of asked) t.true(needs.has(action) || better.has(action), `${action} is not in the table`);
    for (const action of needs) t.true(asked.has(action), `${action} is not asked for`);
  });

  test(`the table of rights is true: Azure, ${name}`, async (t) => {
    const fake = await FakeAzblob.start(t);
    for (const folder of ['blobs', 'manifests'])
      for (const file of readdirSync(join(fixture('s3-bucket'), folder)))
        fake.set(`${folder}/${file}`, readFileSync(join(fixture('s3-bucket'), folder, file)));
    fake.set('manifests/other', readFileSync(join(fixture('s3-bucket'), 'manifests', 'tiny')));
    const key = Buffer.from('a secret of the tests').toString('base64');
    const account = `account_url=http://${fake.host}/account,account_name=account,secret_access_key=${key}`;
    await run(t, `type=azblob,container=container,${account}`, 'manifests');
    const { letters } = rowOf(t, name);
    const asked = new Set(fake.all.flatMap(lettersOf));
    for (const letter of asked) t.true(letters[1].includes(letter), `${letter} is not in the table`);
    for (const letter of letters[0].replace('c', '')) t.true(asked.has(letter), `${letter} is not asked for`);
  });
}
