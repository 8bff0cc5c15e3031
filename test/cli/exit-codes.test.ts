import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { bkcache, copyFolder } from '../support/command.js';
import { importOf, loadFixture, temporary } from '../support/fixtures.js';
import { blobName, damaged, folderOf } from '../support/folders.js';

async function largestBlob(name = 'max-gzip'): Promise<string> {
  const { graph } = await loadFixture(name);
  const [largest] = [...graph.descriptors.values()].toSorted((a, b) => b.size - a.size);
  return blobName(largest?.digest);
}

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
      const { code, stderr } = await copyFolder(
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

test('bad usage is exit 2, and says what to do', async (t) => {
  const out = join(temporary(t), 'out');
  const source = folderOf(t);
  const cases: [string[], RegExp][] = [
    [['copy', '--import-cache', source], /export-cache/],
    [
      ['copy', '--import-cache', source, '--export-cache', 'type=gha,url=http://a,token=t'],
      /export: token= is no token/,
    ],
    [['copy', '--import-cache', 'type=gha,url=http://a,token=t', '--export-cache', out], /import: token= is no token/],
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
