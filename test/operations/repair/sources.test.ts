import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { flip } from '../../support/damage.js';
import { CacheError, type ErrorCode } from '../../../src/errors.js';
import { sha256 } from '../../../src/oci/digest.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { fixture, importOf, loadFixture, temporary } from '../../support/fixtures.js';
import { blobName, contentsOf, folderOf } from '../../support/folders.js';
import { digestOfCache } from '../../support/caches.js';
import { MAIN } from '../../support/command.js';
import { listening } from '../../support/servers.js';

/** The blobs of max-gzip: what it is made of, each kind once. */
async function parts() {
  const { graph, saved } = await loadFixture('max-gzip');
  const [layer = ''] = graph.descriptors.keys();
  const manifest = digestOfCache({ saved }) ?? '';
  return { manifest, config: saved?.documents[0].descriptor.digest ?? '', layer };
}

function lose(folder: string, ...digests: readonly string[]): void {
  for (const digest of digests) rmSync(join(folder, blobName(digest)));
}

const typesOf = ({ actions }: Awaited<ReturnType<typeof repairFolder>>) => actions.map(({ type }) => type);

/** A registry that has what a folder has, under the tag `latest`. */
async function serve(t: ExecutionContext, folder: string, refusal?: number): Promise<string> {
  const [entry] = (
    JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
      manifests: [{ mediaType: string; digest: string }];
    }
  ).manifests;
  const server = createServer(({ url = '', method }, response) => {
    const [, kind, name = ''] = /^\/v2\/team\/cache\/(manifests|blobs)\/(.+)$/.exec(url) ?? [];
    const digest = name === 'latest' ? entry.digest : name;
    const path = join(folder, blobName(digest));
    // As docker-registry does it: a manifest is no blob.
    const isThere = kind !== undefined && existsSync(path) && (digest === entry.digest) === (kind === 'manifests');
    if (refusal !== undefined && kind === 'blobs') response.writeHead(refusal).end();
    else if (url === '/v2/') response.writeHead(200).end();
    else if (!isThere) response.writeHead(404).end();
    else {
      const bytes = readFileSync(path);
      response.writeHead(200, {
        'content-type': kind === 'manifests' ? entry.mediaType : 'application/octet-stream',
        'content-length': bytes.length,
        'docker-content-digest': digest,
      });
      response.end(method === 'HEAD' ? undefined : bytes);
    }
  });
  return listening(t, server);
}

test('what a document names that had to be fetched is fetched, too, and a dry run says the same', async (t) => {
  const { manifest, config, layer } = await parts();
  for (const lost of [[manifest], [config], [manifest, config], [manifest, layer], [manifest, config, layer]]) {
    const folder = folderOf(t);
    lose(folder, ...lost);
    const from = [importOf('max-gzip')];
    const dry = await repairFolder(folder, { from, dryRun: true });
    const real = await repairFolder(folder, { from });
    t.deepEqual(dry.actions, real.actions);
    t.deepEqual(
      real.actions.map((action): string => (action.type === 'fetched' ? action.digest : action.type)).toSorted(),
      lost.toSorted(),
    );
    t.true(real.sound);
    t.deepEqual(contentsOf(folder), contentsOf(fixture('max-gzip')));
  }
});

test('what cannot be had of a cache whose documents were fetched is cut in the same run', async (t) => {
  const { manifest, layer } = await parts();
  const source = folderOf(t);
  lose(source, layer);
  for (const dryRun of [true, false]) {
    const folder = folderOf(t);
    lose(folder, manifest, layer);
    const result = await repairFolder(folder, { from: [`type=local,src=${source}`], dryRun });
    t.deepEqual(typesOf(result), ['fetched', 'cut']);
    t.is(result.sound, !dryRun);
  }
});

test('manifests, configs and layers come from a registry, too', async (t) => {
  const host = await serve(t, fixture('max-gzip'));
  const { manifest, config, layer } = await parts();
  const folder = folderOf(t);
  lose(folder, manifest, config, layer);
  const result = await repairFolder(folder, { from: [`type=registry,ref=${host}/team/cache`] });
  t.deepEqual(typesOf(result), ['fetched', 'fetched', 'fetched']);
  t.deepEqual(contentsOf(folder), contentsOf(fixture('max-gzip')));
});

test('a source that cannot be asked, or is none, ends a repair before anything is cut', async (t) => {
  const { manifest, layer } = await parts();
  const host = await serve(t, fixture('max-gzip'));
  const refusing = await serve(t, fixture('max-gzip'), 403);
  const empty = temporary(t);
  mkdirSync(join(empty, 'blobs'));
  const sources: readonly (readonly [string, ErrorCode])[] = [
    ['type=registry,ref=localhost:1/team/cache', 'UNREACHABLE'],
    [`type=registry,ref=${refusing}/team/cache`, 'DENIED'],
    [`type=registry,ref=${host}/team/cahce`, 'NOT_FOUND'],
    [`type=registry,ref=${host}/team/cache:main`, 'NOT_FOUND'],
    [`type=local,src=${empty}`, 'NOT_FOUND'],
    [`type=local,src=${join(empty, 'not-there')}`, 'NOT_FOUND'],
  ];
  for (const [from, code] of sources) {
    for (const lost of [[layer], [manifest, layer]]) {
      const folder = folderOf(t);
      lose(folder, ...lost);
      writeFileSync(join(folder, 'index.json'), readFileSync(join(folder, 'index.json')).subarray(0, -1));
      const before = contentsOf(folder);
      const wrong = lost.length === 1 ? [from] : [importOf('max-zstd'), from];
      const error = await t.throwsAsync(repairFolder(folder, { from: wrong }), { instanceOf: CacheError }, from);
      t.is(error.code, code, from);
      // Good copies that came before that are all that is new.
      t.deepEqual({ ...contentsOf(folder), ...before }, contentsOf(folder));
    }
  }
});

test('a sound folder needs no source that can be asked', async (t) => {
  const { sound, actions } = await repairFolder(folderOf(t), { from: ['type=registry,ref=localhost:1/team/cache'] });
  t.true(sound);
  t.deepEqual(actions, []);
});

test('where one source has a damaged copy the next is asked, and what was lacking is said', async (t) => {
  const { layer } = await parts();
  const [damaged, without] = [folderOf(t), folderOf(t)];
  flip(damaged, blobName(layer), 10, 1);
  lose(without, layer);
  const folder = folderOf(t);
  lose(folder, layer);
  const from = [damaged, without, fixture('max-gzip')].map((src) => `type=local,src=${src}`);
  const cut = await repairFolder(folder, { from: from.slice(0, 2), dryRun: true });
  t.deepEqual(typesOf(cut), ['cut']);
  const { actions, lacked, sound } = await repairFolder(folder, { from });
  t.deepEqual(actions, [{ type: 'fetched', digest: layer, from: from[2] }] as never);
  t.true(sound);
  for (const said of [cut.lacked, lacked]) {
    t.deepEqual(
      said.map(({ digest, from: where }) => [digest, where]),
      from.slice(0, 2).map((where) => [layer, where]) as never,
    );
    t.regex(said[0]?.reason ?? '', /is damaged/);
    t.regex(said[1]?.reason ?? '', /is missing/);
  }
});

test('bytes that are right are not fetched again for what is wrong about their diffID or their size', async (t) => {
  const changes: readonly ((manifest: string) => string)[] = [
    (text) => text.replaceAll(/("containerd.io\/uncompressed":"sha256:.{60}).{4}/g, '$10000'),
    (text) => text.replace(/("size":)(\d+)(?!.*"size")/, '$1$2$2'),
    // The config's.
    (text) => text.replace(/("size":)(\d+)/, '$1$2$2'),
  ];
  for (const change of changes) {
    const folder = folderOf(t);
    const { manifest } = await parts();
    const index = readFileSync(join(folder, 'index.json'), 'utf8');
    const before = readFileSync(join(folder, blobName(manifest)), 'utf8');
    const text = change(before);
    t.not(text, before);
    writeFileSync(join(folder, blobName(sha256(text))), text);
    const named = index.replace(manifest, sha256(text));
    writeFileSync(join(folder, 'index.json'), named.replace(`"size":${before.length}`, `"size":${text.length}`));
    const result = await repairFolder(folder, { from: [importOf('max-gzip')], deep: true });
    // Nothing is cut: the manifest says what the bytes prove.
    t.deepEqual(typesOf(result), ['rewritten']);
    t.true(result.sound);
  }
});

test('an entry with a wrong size is corrected, and what is missing below it cut, in one run', async (t) => {
  const folder = folderOf(t);
  const { layer } = await parts();
  const path = join(folder, 'index.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"size":\d+/, '"size":7'));
  lose(folder, layer);
  const result = await repairFolder(folder);
  t.deepEqual(typesOf(result), ['cut']);
  t.true(result.sound);
});

test('the command says which source lacked what, and exits with 1 when one cannot be asked', async (t) => {
  const { layer } = await parts();
  const folder = folderOf(t);
  lose(folder, layer);
  const without = folderOf(t);
  lose(without, layer);
  const bkcache = async (...args: string[]) => {
    const child = spawn(process.execPath, [MAIN, ...args, folder]);
    let [text, errors] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number];
    return { code, text, errors };
  };
  const failed = await bkcache('repair', '--json', '--from', 'type=registry,ref=localhost:1/team/cache');
  t.is(failed.code, 1);
  t.is(failed.text, '');
  t.regex(failed.errors, /ECONNREFUSED/);
  const json = await bkcache('repair', '--json', '--dry-run', '--from', without);
  t.is(json.code, 4, json.errors);
  t.like(JSON.parse(json.text), { dryRun: true, actions: [{ type: 'cut' }], lacked: [{ digest: layer }] });
  const { code, text } = await bkcache('repair', '--from', without);
  t.is(code, 0);
  t.regex(text, /^not to be had: blob sha256:.* is missing: .*\ncut latest: .*\n.*: sound again\n$/);
});
