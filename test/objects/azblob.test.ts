import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ContainerSASPermissions,
  ContainerClient,
  generateBlobSASQueryParameters,
  newPipeline,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import test, { type ExecutionContext } from 'ava';
import { azblobStore } from '../../src/backend/config/bucket/azblob.js';
import { withProtocol } from '../../src/backend/config/bucket/azblob-client.js';
import { AzblobConnection } from '../../src/backend/config/bucket/azblob-connection.js';
import { collect } from '../../src/bytes/collect.js';
import { CacheError } from '../../src/errors.js';
import { HttpClient } from '../../src/net/http/http.js';
import { contentOf } from '../../src/oci/content.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { resolveCache } from '../../src/operations/resolve.js';
import { type Azurite, startAzurite } from '../support/azurite.js';
import { importOf, temporary } from '../support/fixtures.js';
import { killUpload, runUpload } from '../support/killed-upload.js';
import { HASTY } from '../support/servers.js';
import { type Bucket, bucketTests, copy } from './bucket-tests.js';

/** A container for one test, which nobody has made yet. */
interface AzureContainer extends Bucket {
  readonly name: string;
  readonly client: ContainerClient;
  /** The attributes that lead to it with a SAS for it alone. */
  readonly sas: (permissions: string, expires?: Date) => string;
}

if (process.env['BKCACHE_TEST_OBJECTS'] === undefined) {
  test.skip('these need Azurite: npm run test:objects', (t) => t.pass());
} else {
  const folder = mkdtempSync(join(tmpdir(), 'bkcache-objects-'));
  // What layers became in containers is remembered there.
  process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
  let server: Azurite;
  test.before(async () => {
    server = await startAzurite(join(folder, 'data'), AbortSignal.timeout(600_000));
  });
  test.after.always(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const container = async (t: ExecutionContext): Promise<AzureContainer> => {
    const name = `container-${randomBytes(6).toString('hex')}`;
    const { account, key, url } = server;
    const http = new HttpClient({ verify: true });
    t.teardown(() => http[Symbol.asyncDispose]());
    const settings = { accountUrl: url, accountName: account, container: name, key, sas: undefined };
    const credential = new StorageSharedKeyCredential(account, key);
    const client = new ContainerClient(`${url}/${name}`, withProtocol(newPipeline(credential)));
    return {
      name,
      client,
      settings,
      store: azblobStore(new AzblobConnection(settings, http, 'export', HASTY)),
      at: `type=azblob,account_url=${url},account_name=${account},container=${name},secret_access_key=${key}`,
      sas: (letters, expiresOn = new Date(Date.now() + 600_000)) => {
        const permissions = ContainerSASPermissions.parse(letters);
        const query = generateBlobSASQueryParameters({ containerName: name, permissions, expiresOn }, credential);
        return `type=azblob,container=${name},account_url=${url}?${query.toString()}`;
      },
    };
  };

  bucketTests('Azurite', container, { hasParts: true, hasCopies: true });

  test('Azurite: an import of a container that is missing makes none, and an export does', async (t) => {
    const { at, client } = await container(t);
    const missing = await t.throwsAsync<CacheError>(resolveCache(at));
    t.is(missing.code, 'NOT_FOUND');
    t.regex(missing.message, /there is no container/);
    t.false(await client.exists());
    await copy(importOf('max-gzip'), at);
    t.true(await client.exists());
  });

  test('Azurite: all names are read as one cache, as several imports are', async (t) => {
    const { at } = await container(t);
    await copy(importOf('grown', 'main'), `${at},name=main`);
    await copy(importOf('grown', 'feature'), `${at},name=feature`);
    const together = await inspectCache(`${at},name=main;feature;nothing`);
    const imports = [importOf('grown', 'main'), importOf('grown', 'feature')];
    const merged = temporary(t);
    await copyCache({ imports, exports: [merged] });
    t.deepEqual(together.records, (await inspectCache(merged)).records);
    const back = await copy(`${at},name=main;feature`, `${at},name=both`);
    t.is(back.descriptor.digest, together.descriptor.digest);
    t.is(back.bytesWritten, 0);
  });

  test('Azurite: a SAS for one container reads and writes, without the right to list or to look at it', async (t) => {
    const { at, sas, client } = await container(t);
    await client.create();
    await copy(importOf('max-gzip'), `${sas('rcw')},name=a`);
    const folder = temporary(t);
    await copy(`${sas('r')},name=a`, `type=local,dest=${folder}`);
    t.is((await resolveCache(`${at},name=a`)).digest, (await resolveCache(`${sas('r')},name=a`)).digest);
    const missing = await t.throwsAsync<CacheError>(resolveCache(`${sas('r')},name=b`));
    t.is(missing.code, 'NOT_FOUND');
    // Who may write and not read sends all, and what is in its place stays.
    const { etag } = await client.getBlobClient('manifests/a').getProperties();
    await copy(importOf('max-gzip'), `${sas('cw')},name=b`);
    t.is((await client.getBlobClient('manifests/a').getProperties()).etag, etag);
    t.is((await resolveCache(`${at},name=b`)).digest, (await resolveCache(`${at},name=a`)).digest);
    for (const text of [`${sas('w')},name=a`, `${sas('r', new Date(Date.now() - 600_000))},name=a`]) {
      const error = await t.throwsAsync<CacheError>(resolveCache(text));
      t.is(error.code, 'DENIED', text);
      t.notRegex(JSON.stringify(error) + error.message, /sig=/);
    }
  });

  test('Azurite: a blob that was cut short is sent again, and a whole one stays', async (t) => {
    const { at, client, store } = await container(t);
    await copy(importOf('max-gzip'), at);
    const etags = async () => {
      const found = new Map<string, string | undefined>();
      for await (const { name, properties } of client.listBlobsFlat({ prefix: 'blobs/' }))
        found.set(name, properties.etag);
      return found;
    };
    const before = await etags();
    const [short = ''] = before.keys();
    await store.put(short, contentOf(Buffer.from('x')).open(), 1);
    const again = await copy(importOf('max-gzip'), at);
    t.like(again, { actions: { copied: 1, present: 5 } });
    before.delete(short);
    t.like(Object.fromEntries(await etags()), Object.fromEntries(before));
    await copy(at, `type=local,dest=${temporary(t)}`);
  });

  test('Azurite: a SAS of the source is enough for a copy by the service', async (t) => {
    const [from, to] = [await container(t), await container(t)];
    await copy(importOf('max-gzip'), from.at);
    await to.client.create();
    t.like((await copy(from.sas('r'), to.sas('rcw'))).actions, { mounted: 6, copied: 0 });
  });

  test('Azurite: blocks of a killed upload are used by the next run', async (t) => {
    const { client, store, settings } = await container(t);
    await client.create();
    const bytes = randomBytes(40 * 1024 ** 2);
    const upload = { service: 'azblob', settings, key: 'key', bytes, home: temporary(t) } as const;
    const blocks = async () => {
      const list = await client
        .getBlockBlobClient('key')
        .getBlockList('all')
        .catch(() => undefined);
      return { left: list?.uncommittedBlocks ?? [], used: list?.committedBlocks ?? [] };
    };
    await killUpload(upload, 30 * 1024 ** 2, async () => (await blocks()).left.length >= 2);
    const { left } = await blocks();
    t.is(await runUpload(upload), 0);
    const { used } = await blocks();
    t.true(left.every(({ name }) => used.some((block) => block.name === name)));
    t.true(bytes.equals(await collect(store.content('key', bytes.length).open())));
  });

  test('Azurite: what an upload that failed has sent is no blob', async (t) => {
    const { store } = await container(t);
    const failing = async function* () {
      yield randomBytes(20 * 1024 ** 2);
      throw new CacheError('CORRUPT', 'cut');
    };
    await t.throwsAsync(store.put('key', failing(), 40 * 1024 ** 2), { message: 'cut' });
    t.deepEqual(await store.head('key'), { state: 'missing' });
    const bytes = randomBytes(20 * 1024 ** 2);
    await Promise.all([1, 2].map(async () => store.create?.('key', contentOf(bytes).open(), bytes.length)));
    t.like(await store.head('key'), { state: 'there', value: { size: bytes.length } });
  });
}
