import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { bkcache, type Outcome, MAIN } from '../support/command.js';
import { FAULTS, FaultyFolder } from '../support/faults.js';
import { fixture, importOf, loadFixture, temporary } from '../support/fixtures.js';
import { copyFixture } from '../support/folders.js';
import { digestOfCache } from '../support/caches.js';

/** A copy of a fixture that may be damaged. */
function damaged(t: ExecutionContext, change: (folder: string) => void, name = 'max-gzip'): string {
  const folder = join(temporary(t), 'cache');
  copyFixture(name, folder);
  change(folder);
  return folder;
}

async function largestBlob(name = 'max-gzip'): Promise<string> {
  const { graph } = await loadFixture(name);
  const [largest] = [...graph.descriptors.values()].toSorted((a, b) => b.size - a.size);
  return join('blobs', 'sha256', largest?.digest.slice('sha256:'.length) ?? '');
}

function copyTo(folder: string, out: string, options = ''): Promise<Outcome> {
  return bkcache([
    'copy',
    '--import-cache',
    `type=local,src=${folder}`,
    '--export-cache',
    `type=local,dest=${out}${options}`,
  ]);
}

test('copy prints what came out, and --json prints one document', async (t) => {
  const out = temporary(t);
  const text = await copyTo(fixture('max-gzip'), out, ',compression=zstd');
  t.is(text.code, 0);
  t.regex(text.stdout, /mode=max, image-manifest, gzip × 6/);
  t.regex(text.stdout, /6 layers kept in another compression; add force-compression=true/);
  const json = await bkcache(['copy', '--json', '--import-cache', importOf('max-gzip'), '--export-cache', out]);
  const { exports } = JSON.parse(json.stdout) as { exports: { actions: object }[] };
  t.deepEqual(exports[0]?.actions, { copied: 0, converted: 0, mounted: 0, present: 6, foreign: 0 });
});

test('a cache goes into the store and out again with the same digest, and can be removed', async (t) => {
  const folder = temporary(t);
  const store = { BKCACHE_STORE: join(folder, 'store') };
  t.is((await bkcache(['import', 'one', '--import-cache', importOf('grown', 'main')], store)).code, 0);
  t.is((await bkcache(['import', 'two', '--import-cache', importOf('grown', 'feature')], store)).code, 0);
  t.is((await bkcache(['import', 'two', '--import-cache', importOf('grown', 'feature')], store)).code, 0);
  const listed = JSON.parse((await bkcache(['list', '--json'], store)).stdout) as { tag: string }[];
  t.deepEqual(
    listed.map(({ tag }) => tag),
    ['one', 'two'],
  );
  t.true(
    readFileSync(join(folder, 'store', 'CACHEDIR.TAG'), 'utf8').startsWith(
      'Signature: 8a477f597d28d172789f06886806bc55',
    ),
  );
  t.is((await bkcache(['export', 'one', '--export-cache', join(folder, 'out')], store)).code, 0);
  const resolved = JSON.parse((await bkcache(['resolve', join(folder, 'out')])).stdout) as { digest: string };
  t.is(digestOfCache(await loadFixture('grown', 'main')) as string, resolved.digest);
  t.is((await bkcache(['remove', 'one'], store)).code, 0);
  const gone = await bkcache(['export', 'one', '--export-cache', join(folder, 'again')], store);
  t.is(gone.code, 3);
  t.regex(gone.stderr, /its tags are: two/);
});

test('import-args prints flags for what is there, and nothing but a note for what is not', async (t) => {
  const here = importOf('max-gzip');
  const { code, stdout, stderr } = await bkcache(['import-args', '--for', 'buildx', here, 'type=local,src=./no-such']);
  t.is(code, 0);
  t.is(stdout, `--cache-from\n${here}\n`);
  t.regex(stderr, /no-such/);
});

test('import-args leaves out what leads nowhere, and what only a build can read', async (t) => {
  const folder = temporary(t);
  const here = importOf('max-gzip');
  writeFileSync(join(folder, 'file'), '');
  symlinkSync('loop', join(folder, 'loop'));
  const odd = [join(folder, 'file', 'x'), join(folder, 'loop'), join(folder, 'x'.repeat(300)), 'type=s3'];
  const env = { AWS_BUCKET: 'b', AWS_REGION: 'r' };
  const { code, stdout, stderr } = await bkcache(['import-args', ...odd, here], env);
  t.is(code, 0);
  t.is(stdout, `--import-cache\n${here}\n`);
  t.is(stderr.match(/^bkcache: left out /gm)?.length, odd.length);
  for (const text of odd.slice(0, 3)) t.is((await bkcache(['resolve', text])).code, 3, text);
  // A string that no build would take is no import that is missing.
  t.is((await bkcache(['import-args', 'example.com/A', here])).code, 2);
  t.is((await bkcache(['import-args', './cache,tag=main', here])).code, 2);
});

test('import-args says what to do about a cache that is damaged, and nothing before the first export', async (t) => {
  const path = join(temporary(t), 'image');
  copyFixture('inline-image', path);
  FAULTS.find(({ of, name }) => of === 'image' && name === 'no history')?.make(new FaultyFolder(path));
  const { code, stderr } = await bkcache([
    'import-args',
    `type=inline,src=${path},tag=inline`,
    'type=local,src=./no-such',
  ]);
  t.is(code, 0);
  t.regex(stderr, /daemon exits .*\n {2}hint: "bkcache repair" fills in the history/);
  t.regex(stderr, /no-such/);
  t.is(stderr.match(/hint/g)?.length, 1);
});

test('a path with options behind it is a folder only where there is one', async (t) => {
  const folder = join(temporary(t), 'cache,tag=main');
  t.is((await bkcache(['resolve', folder])).code, 2);
  copyFixture('max-gzip', folder);
  t.is((await bkcache(['resolve', folder])).code, 0);
});

test('inspect shows layers and records', async (t) => {
  const { code, stdout } = await bkcache(['inspect', importOf('max-estargz')]);
  t.is(code, 0);
  t.regex(stdout, /estargz/);
  t.regex(stdout, /12 records, 7 with results/);
});

test('resolving: digest before tag, also one that index.json does not list', async (t) => {
  const { saved } = await loadFixture('grown', 'main');
  const digest = digestOfCache({ saved }) ?? '';
  const folder = damaged(
    t,
    (at) => writeFileSync(join(at, 'index.json'), '{"schemaVersion":2,"manifests":[]}'),
    'grown',
  );
  const { code, stdout } = await bkcache(['resolve', `type=local,src=${folder},tag=none,digest=${digest}`]);
  t.is(code, 0);
  t.is((JSON.parse(stdout) as { digest: string }).digest, digest);
  const missing = await bkcache(['resolve', importOf('grown', 'nope')]);
  t.is(missing.code, 3);
  t.regex(missing.stderr, /its tags are: main, feature/);
});

test('the digest of a layer is that of no manifest', async (t) => {
  const [layer] = (await loadFixture('max-gzip')).graph.descriptors.keys();
  const { code, stderr } = await bkcache(['resolve', `${importOf('max-gzip')},digest=${layer}`]);
  t.is(code, 3);
  t.regex(stderr, /it is no manifest/);
  t.notRegex(stderr, /cut short/);
});

test('a lock that is a link or a folder is damage that is named', async (t) => {
  for (const [name, damage] of [
    ['a link', (path: string) => symlinkSync('elsewhere', path)],
    ['a folder', (path: string) => mkdirSync(path)],
  ] as const) {
    const folder = damaged(t, (at) => damage(join(at, 'index.json.lock')));
    const exported = `type=local,dest=${folder},tag=other`;
    const { code, stderr } = await bkcache([
      'copy',
      '--import-cache',
      importOf('min-gzip'),
      '--export-cache',
      exported,
    ]);
    t.is(code, 4);
    t.true(stderr.includes(`index.json.lock is ${name}`), stderr);
    // Readers need none.
    t.is((await bkcache(['list', folder])).code, 0);
  }
});

test('nothing from a cache reaches the terminal as a control character', async (t) => {
  const tag = '\u001b[2J\nev\u009bil\u202e';
  const folder = damaged(t, (at) => {
    const index = readFileSync(join(at, 'index.json'), 'utf8');
    writeFileSync(join(at, 'index.json'), index.replace('"latest"', JSON.stringify(tag)));
  });
  for (const args of [['list'], ['inspect'], ['resolve'], ['gc', '--dry-run'], ['verify'], ['repair', '--dry-run']]) {
    const { stdout, stderr } = await bkcache([...args, folder]);
    t.notRegex(`${stdout}${stderr}`.replaceAll('\n', ''), /[\p{Cc}\u202e]/u, args.join(' '));
  }
  t.true((await bkcache(['list', folder])).stdout.includes('\\x1b[2J\\x0aev\\x9bil\\u202e'));
  const [entry] = JSON.parse((await bkcache(['list', '--json', folder])).stdout) as { tag: string }[];
  t.is(entry?.tag, tag);
});

test('whoever has seen enough may close stdout, and nobody hears of it', async (t) => {
  const out = join(temporary(t), 'out');
  const commands = [
    `inspect ${fixture('max-gzip')}`,
    '--help',
    `copy --import-cache ${fixture('max-gzip')} --export-cache ${out} 2>&1`,
  ];
  for (const command of commands) {
    const child = spawn('bash', ['-c', `"$0" "$1" ${command} | true; exit \${PIPESTATUS[0]}`, process.execPath, MAIN]);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number];
    t.deepEqual({ code, stderr }, { code: 0, stderr: '' }, command);
  }
  t.true(readdirSync(out).includes('index.json'));
});

const DAMAGE: Record<string, (folder: string, blob: string) => void> = {
  'a truncated blob': (folder, blob) => truncateSync(join(folder, blob), 100),
  'a wrong byte': (folder, blob) => {
    const bytes = readFileSync(join(folder, blob));
    bytes[50] = (bytes[50] ?? 0) ^ 1;
    writeFileSync(join(folder, blob), bytes);
  },
  'a missing blob': (folder, blob) => rmSync(join(folder, blob)),
  'a link in place of a blob': (folder, blob) => {
    rmSync(join(folder, blob));
    symlinkSync('/etc/passwd', join(folder, blob));
  },
  'a folder in place of a blob': (folder, blob) => {
    rmSync(join(folder, blob));
    mkdirSync(join(folder, blob));
  },
  'half an index.json': (folder) => truncateSync(join(folder, 'index.json'), 40),
  'an index.json of another shape': (folder) => writeFileSync(join(folder, 'index.json'), '{"manifests":{}}'),
  'a digest that is a path': (folder) =>
    writeFileSync(
      join(folder, 'index.json'),
      '{"manifests":[{"digest":"../../etc/passwd","size":1,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}',
    ),
};

for (const [name, damage] of Object.entries(DAMAGE)) {
  for (const options of ['', ',compression=zstd,force-compression=true']) {
    test(`exit 4, and no tag written: ${name}${options}`, async (t) => {
      const blob = await largestBlob();
      const out = join(temporary(t), 'out');
      const { code, stderr } = await copyTo(
        damaged(t, (folder) => damage(folder, blob)),
        out,
        options,
      );
      t.is(code, 4, stderr);
      t.regex(stderr, /^bkcache: |\nbkcache: /);
      t.notRegex(stderr, /\n\s+at /);
      if (readdirSync(join(out, '..')).includes('out')) t.false(readdirSync(out).includes('index.json'));
    });
  }
}

test('bad usage is exit 2, and says what to do', async (t) => {
  const out = join(temporary(t), 'out');
  const source = damaged(t, () => undefined);
  const cases: [string[], RegExp][] = [
    [['copy', '--import-cache', source], /export-cache/],
    [['copy', '--import-cache', source, '--export-cache', 'type=gha,url=http://a,token=t'], /cannot export it yet/],
    [['copy', '--import-cache', 'type=gha,url=http://a,token=t', '--export-cache', out], /cannot import it yet/],
    [['copy', '--import-cache', source, '--export-cache', 'type=registry,ref=example.com/A'], /upper-case/],
    [['copy', '--import-cache', 'https://example.com/a', '--export-cache', out], /leave out the part up to/],
    [['resolve', 'example.com/a', '--username', 'me'], /belong together/],
    [['copy', '--import-cache', source, '--export-cache', source], /replace its own import/],
    [['copy', '--import-cache', source, '--export-cache', join(source, 'sub')], /is inside the import/],
    [['gc', source, '--grace', 'soon'], /--grace takes a duration/],
    [['prune', source], /prune needs at least one rule/],
    [['resolve', source, '--no-json'], /resolve prints JSON only/],
    [['prune', source, '--max-size', 'much'], /--max-size takes a size/],
    [['prune', '/nowhere', '--untag', '[z-a]'], /--untag takes a pattern.*"\[z-a\]"/],
    [['prune', '/nowhere', '--max-age', '1d', '--keep', 'v[9-0]'], /--keep takes a pattern.*"v\[9-0\]"/],
    [['verify', source, '--sample', '8/7'], /--sample takes a part/],
    [['copy', '--import-cache', source, '--export-cache', out, '--concurrency', '0'], /concurrency/],
    [['frobnicate'], /./],
    [[], /command/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await bkcache(args);
    t.is(code, 2, args.join(' '));
    t.regex(stderr, message);
  }
  t.false(readdirSync(join(out, '..')).includes('out'));
});

test('what cannot be exported is found before anything is written, and never ignored', async (t) => {
  const folder = temporary(t);
  const at = (name: string) => join(folder, name);
  const cases: [source: string, exports: string[], RegExp][] = [
    ['max-gzip', [at('a'), 'type=azblob,account_url=https://a.example'], /cannot export it yet/],
    ['max-gzip', [at('a'), 'type=azblob,account_url=https://a.example,ignore-error=true'], /cannot export it yet/],
    ['max-gzip', [at('a'), `localhost:1/x@sha256:${'a'.repeat(64)}`], /exported to a digest/],
    ['max-gzip', [at('a'), 'localhost:1/x?'], /is not a reference/],
    ['max-gzip', [`type=local,dest=${at('a')},mode=min`, `${at('b')}/../a`], /two exports go to/],
    [
      'max-gzip',
      ['busybox', 'docker.io/library/busybox:latest'],
      /two exports go to docker.io\/library\/busybox:latest/,
    ],
    ['max-gzip', [at('a,mode=min')], /write type=local,dest=.*,mode=min/],
  ];
  for (const [source, exports, message] of cases) {
    const to = exports.flatMap((text) => ['--export-cache', text]);
    const { code, stderr } = await bkcache(['copy', '--import-cache', importOf(source), ...to]);
    t.is(code, 2, stderr);
    t.regex(stderr, message);
    t.deepEqual(readdirSync(folder), [], exports.join(' '));
  }
  const tags = [`type=local,dest=${at('a')},tag=one`, `type=local,dest=${at('a')},tag=two`];
  const both = tags.flatMap((text) => ['--export-cache', text]);
  t.is((await bkcache(['copy', '--import-cache', importOf('max-gzip'), ...both])).code, 0);
});

test('a first import that fails makes no store, and a store that is not there has words of its own', async (t) => {
  const folder = temporary(t);
  const store = join(folder, 'store');
  const run = (...args: string[]) => bkcache([...args, '--store', store]);
  t.is((await run('import', 'x', '--import-cache', 'type=bogus,src=y')).code, 2);
  t.is((await run('import', 'x', '--import-cache', join(folder, 'missing'))).code, 3);
  t.deepEqual(readdirSync(folder), []);
  const verbs = [['list'], ['gc'], ['verify'], ['repair'], ['prune', '--max-age', '1d'], ['remove', 'x']];
  for (const args of [...verbs, ['export', 'x', '--export-cache', join(folder, 'out')]]) {
    const { code, stderr } = await run(...args);
    t.is(code, 3);
    t.regex(
      stderr,
      /there is no store in .*\n  hint: "bkcache import NAME --import-cache …" makes one/,
      args.join(' '),
    );
  }
  t.deepEqual(readdirSync(folder), []);
  // As a first import leaves it that was killed.
  mkdirSync(join(store, 'blobs', 'sha256'), { recursive: true });
  writeFileSync(join(store, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  for (const args of verbs.slice(0, -1)) t.is((await run(...args)).code, 0, args.join(' '));
  t.is((await run('remove', 'x')).code, 3);
  t.is((await run('import', 'x', '--import-cache', importOf('max-gzip'))).code, 0);
  const { manifests } = JSON.parse(readFileSync(join(store, 'index.json'), 'utf8')) as {
    manifests: { annotations: Record<string, string> }[];
  };
  t.truthy(manifests[0]?.annotations['dev.bkcache.last-used']);
});

test('a folder that is taken for a reference is pointed out', async (t) => {
  const out = temporary(t);
  // A name that is no reference either, so that nothing is looked up.
  const { code, stderr } = await bkcache(['copy', '--import-cache', 'dist/src/CLI', '--export-cache', out]);
  t.is(code, 2);
  t.notRegex(stderr, /taken for a reference/);
  const { stderr: hinted } = await bkcache(['copy', '--import-cache', 'CHANGELOG.md', '--export-cache', out]);
  t.regex(hinted, /the folder is \.\/CHANGELOG\.md/);
  const { stderr: positional } = await bkcache(['resolve', 'CHANGELOG.md']);
  t.regex(positional, /the folder is \.\/CHANGELOG\.md/);
  const value = await bkcache(['resolve', 'localhost:1/a', '--registry-ca', 'package.json']);
  t.is(value.code, 1);
  t.notRegex(value.stderr, /taken for/);
});

test('a reference that is taken for a folder is pointed out', async (t) => {
  for (const [verb, hint] of [
    ['list', /in a registry it is type=registry,ref=localhost:1\/a/],
    ['verify', /in a registry it is type=registry,ref=localhost:1\/a/],
    ['repair', /repair is for folders only/],
    ['gc', /gc is for folders only/],
    ['prune', /prune is for folders only/],
  ] as const) {
    const { code, stderr } = await bkcache([verb, 'localhost:1/a', ...(verb === 'prune' ? ['--max-age', '1d'] : [])]);
    t.is(code, 3, stderr);
    t.regex(stderr, hint);
  }
  t.notRegex((await bkcache(['list', './not-there.d/cache'])).stderr, /taken for/);
});

test('an option string is no folder, and its secrets are not shown', async (t) => {
  for (const verb of ['repair', 'gc', 'prune']) {
    const { code, stderr } = await bkcache([verb, 'type=s3,bucket=b,secret_access_key=hush']);
    t.is(code, 2, stderr);
    t.regex(stderr, /FOLDER takes a path/);
    t.notRegex(stderr, /hush/);
  }
});

test('a path with type= in it is a path for every verb', async (t) => {
  const folder = join(temporary(t), 'of,type=max');
  copyFixture('grown', folder);
  const verified = await bkcache(['verify', folder]);
  t.is(verified.code, 0, verified.stderr);
  t.regex(verified.stdout, /sound; 2 entries/);
  for (const verb of ['list', 'gc', 'repair']) t.is((await bkcache([verb, folder])).code, 0);
});

test('list says below the table what cannot be read', async (t) => {
  const folder = damaged(t, (at) => {
    const { manifests } = JSON.parse(readFileSync(join(at, 'index.json'), 'utf8')) as {
      manifests: { digest: string }[];
    };
    truncateSync(join(at, 'blobs', 'sha256', manifests[0]?.digest.slice('sha256:'.length) ?? ''), 100);
  });
  const { code, stdout } = await bkcache(['list', folder]);
  t.is(code, 0);
  t.regex(stdout, /^latest: .* is damaged: its bytes hash to/m);
});

test('a folder that is not there is exit 3', async (t) => {
  t.is((await copyTo('./no-such-folder', temporary(t))).code, 3);
  t.is((await bkcache(['list', './no-such-folder'])).code, 3);
});

test('ignore-error=true makes a failed export a message', async (t) => {
  const folder = temporary(t);
  writeFileSync(join(folder, 'file'), '');
  chmodSync(folder, 0o755);
  const strict = await copyTo(fixture('max-gzip'), join(folder, 'file', 'out'));
  t.is(strict.code, 1);
  const lenient = await copyTo(fixture('max-gzip'), join(folder, 'file', 'out'), ',ignore-error=true');
  t.is(lenient.code, 0);
  t.regex(lenient.stderr, /is ignored/);
});
