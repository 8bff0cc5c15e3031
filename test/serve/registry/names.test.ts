import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { importCache } from '../../../src/operations/import.js';
import { listCaches } from '../../../src/operations/list.js';
import { nameOf, namesOf, tagNameOf } from '../../../src/serve/registry/names.js';
import { importOf } from '../../support/fixtures.js';
import { entriesOf, folderOf } from '../../support/folders.js';
import { ServedFolder } from '../../support/served.js';

test('every tag of a registry has a name in the store, and the name leads back', (t) => {
  const part = fc.stringMatching(/^[a-z0-9]{1,5}(?:[._-][a-z0-9]{1,3})?$/);
  const repository = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
  const tag = fc.stringMatching(/^\w[\w.-]{0,20}$/);
  fc.assert(
    fc.property(repository, tag, (repository, tag) => {
      for (const name of namesOf({ repository, tag })) t.deepEqual(tagNameOf(name), { repository, tag });
      t.is(namesOf({ repository, tag })[0], nameOf({ repository, tag }));
    }),
  );
  t.is(nameOf({ repository: 'team/app', tag: 'latest' }), 'team/app');
  for (const name of ['Main', 'a:b:c', '', 'a b', ':v1', 'a:', '../x', 'host:5000/a']) t.is(tagNameOf(name), undefined);
});

test('a cache that was imported under a name is what clients find there', async (t) => {
  const served = await ServedFolder.open(t);
  const { exports } = await importCache(served.folder, 'team/app', [importOf('max-gzip')]);
  await importCache(served.folder, 'team/app:pr-1', [importOf('max-zstd')]);
  await importCache(served.folder, 'Not A Reference', [importOf('max-zstd')]);
  const reply = await served.ask('GET', '/v2/team/app/manifests/latest');
  t.is(reply.headers['docker-content-digest'], exports[0]?.descriptor.digest);
  const tags = await served.ask('GET', '/v2/team/app/tags/list');
  t.deepEqual(JSON.parse(tags.body.toString()), { name: 'team/app', tags: ['latest', 'pr-1'] });
});

test('an image that was pushed is in the list of the store under its name', async (t) => {
  const served = await ServedFolder.open(t);
  await served.pushImage('team/app', 'latest');
  await served.pushImage('team/app', 'v1');
  const listed = await listCaches(served.folder);
  t.deepEqual(
    listed.map(({ tag }) => tag),
    ['team/app', 'team/app:v1'],
  );
});

test('latest may be written out in the store, and a push leaves one spelling', async (t) => {
  const folder = folderOf(t);
  const path = join(folder, 'index.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace('"latest"', '"team/app:latest"'));
  const served = await ServedFolder.open(t, { folder });
  t.is((await served.ask('GET', '/v2/team/app/manifests/latest')).status, 200);
  await served.pushImage('team/app', 'latest');
  t.deepEqual(
    entriesOf(folder).map(({ annotations }) => annotations['org.opencontainers.image.ref.name']),
    ['team/app'],
  );
  t.is((await served.ask('DELETE', '/v2/team/app/manifests/latest')).status, 202);
  t.is((await served.ask('GET', '/v2/team/app/manifests/latest')).status, 404);
});

test('an image with a name of containerd is found by it, and replaced by a push', async (t) => {
  const folder = folderOf(t);
  const path = join(folder, 'index.json');
  const named = '"io.containerd.image.name":"team/app:v1","org.opencontainers.image.ref.name":"v1"';
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"org\.opencontainers\.image\.ref\.name":\s*"latest"/, named));
  const served = await ServedFolder.open(t, { folder });
  t.is((await served.ask('GET', '/v2/team/app/manifests/v1')).status, 200);
  const digest = await served.pushImage('team/app', 'v1');
  t.is((await served.ask('HEAD', '/v2/team/app/manifests/v1')).headers['docker-content-digest'], digest);
});

test('names in the store that only look like those of objects are no repositories', async (t) => {
  const served = await ServedFolder.open(t);
  for (const name of ['constructor', 'tostring', 'hasownproperty']) {
    t.is((await served.ask('GET', `/v2/${name}/manifests/latest`)).status, 404);
    t.is((await served.ask('GET', `/v2/${name}/tags/list`)).status, 404);
  }
});
