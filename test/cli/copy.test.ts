import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { bkcache, copyFolder } from '../support/command.js';
import { fixture, importOf, temporary } from '../support/fixtures.js';

test('copy prints what came out, and --json prints one document', async (t) => {
  const out = temporary(t);
  const text = await copyFolder(fixture('max-gzip'), out, ',compression=zstd');
  t.is(text.code, 0);
  t.regex(text.stdout, /mode=max, image-manifest, gzip × 6/);
  t.regex(text.stdout, /6 layers kept in another compression; add force-compression=true/);
  const json = await bkcache(['copy', '--json', '--import-cache', importOf('max-gzip'), '--export-cache', out]);
  const { exports } = JSON.parse(json.stdout) as { exports: { actions: object }[] };
  t.deepEqual(exports[0]?.actions, { copied: 0, converted: 0, mounted: 0, present: 6, foreign: 0 });
});

test('what cannot be exported is found before anything is written, and never ignored', async (t) => {
  const folder = temporary(t);
  const at = (name: string) => join(folder, name);
  const cases: [source: string, exports: string[], RegExp][] = [
    ['max-gzip', [at('a'), 'type=gha,url=https://a.example,token=x'], /token= is no token of GitHub Actions/],
    ['max-gzip', [at('a'), 'type=gha,url=https://a.example,token=x,ignore-error=true'], /is no token of GitHub/],
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

test('ignore-error=true makes a failed export a message', async (t) => {
  const folder = temporary(t);
  writeFileSync(join(folder, 'file'), '');
  chmodSync(folder, 0o755);
  const strict = await copyFolder(fixture('max-gzip'), join(folder, 'file', 'out'));
  t.is(strict.code, 1);
  const lenient = await copyFolder(fixture('max-gzip'), join(folder, 'file', 'out'), ',ignore-error=true');
  t.is(lenient.code, 0);
  t.regex(lenient.stderr, /is ignored/);
});
