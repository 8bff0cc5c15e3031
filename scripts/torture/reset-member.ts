import {
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { copyCache } from '../../src/operations/copy/copy.js';
import { CacheError } from '../../src/errors.js';
import { tryFlock } from '../../src/layout/lock/flock.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { fixture } from '../../test/support/fixtures.js';
import { blobPath } from '../../test/support/folders.js';
import { Random } from './random.js';

// One process in a folder that exports of BuildKit reset all the time: such an export until standard input ends, or some
// copies of bkcache, each of which is looked at the moment that it returns. It prints what came of that.
const [role, folder = '', name = '', count = '0', seed = '0'] = process.argv.slice(2);
const random = new Random(Number(seed));
const REF_NAME = 'org.opencontainers.image.ref.name';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const SOURCES = ['max-gzip', 'max-zstd', 'min-gzip', 'max-uncompressed'];

interface Entry {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

const read = (path: string) =>
  JSON.parse(readFileSync(path, 'utf8')) as { manifests?: Entry[]; layers?: Entry[]; config?: Entry };

/** BuildKit's lock: it does not wait, and deletes the file whoever has it by then (client/ociindex/ociindex.go). */
function locked<T>(kind: 'shared' | 'exclusive', act: () => T): T | 'refused' {
  const path = join(folder, 'index.json.lock');
  const fd = openSync(path, constants.O_RDONLY | constants.O_CREAT, 0o600);
  let isLocked = false;
  try {
    isLocked = tryFlock(fd, kind);
    return isLocked ? act() : 'refused';
  } finally {
    closeSync(fd);
    if (isLocked) rmSync(path, { force: true });
  }
}

/** Trusts a blob whose file is there, as containerd does. */
function write(content: string): Pick<Entry, 'digest' | 'size'> {
  const digest = sha256(content);
  if (!existsSync(blobPath(folder, digest))) {
    const ingest = join(folder, 'ingest', sha256(digest + name).slice('sha256:'.length));
    mkdirSync(ingest, { recursive: true });
    writeFileSync(join(ingest, 'data'), content);
    renameSync(join(ingest, 'data'), blobPath(folder, digest));
    rmSync(ingest, { recursive: true });
  }
  return { digest, size: content.length };
}

/** Puts a tag into index.json, in place. */
function put(tag: string, entry: Entry): 'done' | 'refused' {
  return locked('exclusive', () => {
    const path = join(folder, 'index.json');
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
    try {
      const text = readFileSync(fd, 'utf8');
      const before = text === '' ? [] : ((JSON.parse(text) as { manifests?: Entry[] }).manifests ?? []);
      const others = before.filter(({ annotations }) => annotations?.[REF_NAME] !== tag);
      const manifests = [...others, { ...entry, annotations: { [REF_NAME]: tag } }];
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }));
      writeSync(fd, bytes, 0, bytes.length, 0);
      ftruncateSync(fd, bytes.length);
      return 'done' as const;
    } finally {
      closeSync(fd);
    }
  });
}

/** client/solve.go, resetCacheStore: whatever index.json does not reach goes, whoever is writing it. */
function reset(): number {
  const index = locked('shared', () => read(join(folder, 'index.json')));
  if (index === 'refused') return 0;
  const reached = new Set<string>();
  try {
    for (const { digest } of index.manifests ?? []) {
      reached.add(digest);
      const { config, layers = [] } = read(blobPath(folder, digest));
      for (const blob of [...layers, ...(config === undefined ? [] : [config])]) reached.add(blob.digest);
    }
  } catch {
    // A manifest that cannot be read: nothing is deleted, with a warning.
    return 0;
  }
  const doomed = readdirSync(join(folder, 'blobs', 'sha256')).filter((blob) => !reached.has(`sha256:${blob}`));
  for (const blob of doomed) rmSync(join(folder, 'blobs', 'sha256', blob), { force: true });
  return doomed.length;
}

async function exportAll(): Promise<object> {
  const stopping = new AbortController();
  process.stdin.on('end', () => stopping.abort()).resume();
  const counts = { exports: 0, refused: 0, deleted: 0 };
  mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
  while (!stopping.signal.aborted) {
    const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar', ...write(`layer ${random.below(50)}`) };
    await sleep(random.below(20));
    const config = { mediaType: 'application/vnd.buildkit.cacheconfig.v0', ...write('{"layers":[],"records":[]}') };
    const document = { schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] };
    const manifest = { mediaType: MANIFEST, ...write(JSON.stringify(document)) };
    counts.exports++;
    if (put(name, manifest) === 'refused') counts.refused++;
    counts.deleted += reset();
    await sleep(random.below(20));
  }
  return counts;
}

/** What a tag needs and is not there. */
function lacking(tag: string): string[] {
  const { manifests = [] } = read(join(folder, 'index.json'));
  const entry = manifests.find(({ annotations }) => annotations?.[REF_NAME] === tag);
  if (entry === undefined) return [`the tag ${tag}`];
  if (!existsSync(blobPath(folder, entry.digest))) return [entry.digest];
  const { config, layers = [] } = read(blobPath(folder, entry.digest));
  return [...layers, ...(config === undefined ? [] : [config])]
    .map(({ digest }) => digest)
    .filter((digest) => !existsSync(blobPath(folder, digest)));
}

async function copyAll(): Promise<object> {
  const counts = { copies: 0, failed: 0, lacking: 0 };
  for (let number = 0; number < Number(count); number++) {
    const tag = `${name}-${random.below(3)}`;
    const forced = random.below(4) === 0 ? ',compression=zstd,force-compression=true' : '';
    try {
      await copyCache({
        imports: [`type=local,src=${fixture(random.pick(SOURCES))}`],
        exports: [`type=local,dest=${folder},tag=${tag}${forced}`],
        layout: { durable: false, lockTimeout: 60_000 },
      });
      counts.copies++;
      const lost = await settledLack(tag);
      if (lost.length > 0) process.stderr.write(`${tag} lacks ${lost.join(', ')}\n`);
      counts.lacking += lost.length > 0 ? 1 : 0;
    } catch (error) {
      // What is deleted each time it is written is an error, and a clear one.
      if (!(error instanceof CacheError && /deleted blobs/.test(error.message))) throw error;
      counts.failed++;
    }
  }
  return counts;
}

/** An export may be writing index.json in place at this moment. */
async function settledLack(tag: string): Promise<string[]> {
  for (let tries = 0; ; tries++) {
    try {
      return lacking(tag);
    } catch (error) {
      if (!(error instanceof SyntaxError) || tries === 20) throw error;
      await sleep(1);
    }
  }
}

process.stdout.write(JSON.stringify(role === 'export' ? await exportAll() : await copyAll()));
process.exit(0);
