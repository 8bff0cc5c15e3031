import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseExport, parseImport } from '../../src/buildkit/options.js';
import { sha256 } from '../../src/oci/digest.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { repairFolder } from '../../src/operations/repair/repair.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { blobPath, copyFixture } from '../../test/support/folders.js';
import { expectCacheError, insist } from './folder.js';
import type { Random } from './random.js';

const WORDS = [
  'type=',
  'local',
  'src=',
  'dest=',
  'tag=',
  ',',
  '"',
  '=',
  'digest=',
  'sha256:',
  '../',
  '\u0000',
  'mode=',
  '\n',
  'é',
  ' ',
];

/**
 * Input that somebody made up: documents whose digests are right and whose content is not, and option strings. It is an
 * error that is meant for people, or it works; and it ends soon.
 */
export async function hostileRound(random: Random, work: string): Promise<Record<string, number>> {
  for (let count = 0; count < 20; count++) {
    const text = Array.from({ length: random.below(12) }, () => random.pick(WORDS)).join('');
    await expectCacheError(() => Promise.resolve(parseImport(text, {})), `import ${JSON.stringify(text)}`);
    await expectCacheError(() => Promise.resolve(parseExport(text, {})), `export ${JSON.stringify(text)}`);
  }
  for (let count = 0; count < 5; count++) {
    const folder = join(work, 'hostile');
    mkdirSync(folder, { recursive: true });
    copyFixture('max-gzip', folder);
    const what = forge(random, folder);
    await expectCacheError(() => inspectCache(`type=local,src=${folder}`), `inspect, ${what}`);
    await expectCacheError(() => verifyFolder(folder, { deep: true }), `verify, ${what}`);
    await expectCacheError(() => repairFolder(folder), `repair, ${what}`);
    const { sound, findings } = await verifyFolder(folder);
    insist(sound, `repair has left ${JSON.stringify(findings)}, ${what}`);
    rmSync(folder, { recursive: true });
  }
  return { 'hostile option strings': 40, 'hostile documents': 5 };
}

/** Changes a document somewhere, and makes all that names it fit again. */
function forge(random: Random, folder: string): string {
  const blob = (digest: string) => blobPath(folder, digest);
  const put = (bytes: string) => {
    const digest = sha256(bytes);
    writeFileSync(blob(digest), bytes);
    return { digest, size: Buffer.byteLength(bytes) };
  };
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: [Named] };
  const manifestText = readFileSync(blob(index.manifests[0].digest), 'utf8');
  const manifest = JSON.parse(manifestText) as { config: Named };
  let text = manifestText;
  if (random.below(3) > 0) {
    const config = readFileSync(blob(manifest.config.digest), 'utf8');
    text = JSON.stringify({ ...manifest, config: { ...manifest.config, ...put(mutate(random, config)) } });
  } else text = mutate(random, manifestText);
  const entry = { ...index.manifests[0], ...put(text) };
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ ...index, manifests: [entry] }));
  return `manifest ${text.slice(0, 20_000)}`;
}

interface Named {
  readonly digest: string;
  readonly size: number;
}

const VALUES = [
  '-1',
  '0',
  '1e99',
  '9007199254740993',
  'null',
  '{}',
  '[]',
  '[[]]',
  '""',
  'true',
  '"sha256:../../etc/passwd"',
  '3',
];

/** Puts something else in the place of a value of JSON, or breaks it. */
function mutate(random: Random, json: string): string {
  const values = [...json.matchAll(/(?<=[:[,])(?:-?\d+|"[^"]*"|null)(?=[,\]}])/g)];
  if (values.length === 0 || random.below(8) === 0) return json.slice(0, random.below(json.length));
  const { index, 0: value } = random.pick(values);
  return json.slice(0, index) + random.pick(VALUES) + json.slice(index + value.length);
}
