import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import type { Cache } from '../../src/backend/backend.js';
import type { SavedCache } from '../../src/graph/save.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { topOf } from '../../src/oci/document.js';
import { loadFolder } from './caches.js';

const CACHES = fileURLToPath(new URL('../../../fixtures/caches/', import.meta.url));

/** The caches in fixtures/ that have a manifest, by folder and tag. */
export const FIXTURES: readonly (readonly [folder: string, tag: string])[] = [
  ['buildkit-0.13-max-gzip', 'latest'],
  ['grown', 'main'],
  ['grown', 'feature'],
  ['max-estargz', 'latest'],
  ['max-gzip', 'latest'],
  ['max-gzip-docker-list', 'latest'],
  ['max-gzip-index', 'latest'],
  ['max-multiplatform', 'latest'],
  ['max-uncompressed', 'latest'],
  ['max-zstd', 'latest'],
  ['max-zstd-level19', 'latest'],
  ['min-gzip', 'latest'],
  ['min-zstd-index', 'latest'],
];

export function fixture(folder: string): string {
  return join(CACHES, folder);
}

/** The import string of a fixture. */
export function importOf(folder: string, tag = 'latest'): string {
  return `type=local,src=${fixture(folder)},tag=${tag}`;
}

export function loadFixture(folder: string, tag = 'latest'): Promise<Cache> {
  return loadFolder(fixture(folder), tag);
}

/** The digest that names a cache. */
export function digestOfCache({ saved }: { readonly saved?: SavedCache | undefined }): Digest | undefined {
  return saved && topOf(saved.documents).descriptor.digest;
}

/** A folder that goes when the test has ended. */
export function temporary(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'bkcache-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A copy of a fixture that may be changed, without what those who read the fixture at the same time have in it. */
export function copyFixture(name: string, folder: string): void {
  for (const part of ['oci-layout', 'index.json', 'blobs']) {
    cpSync(join(fixture(name), part), join(folder, part), { recursive: true });
  }
}

/** A manifest or config, as far as tests change it. */
interface Changeable {
  config: { digest: string; size: number };
  layers: { mediaType: string; digest: string; size: number; annotations: Record<string, string> }[];
  [field: string]: unknown;
}

/** A copy of a fixture, which has an image manifest, in a new folder and with a manifest and config that are changed. */
export function changedFixture(
  t: ExecutionContext,
  name: string,
  change: (manifest: Changeable, config: { records: { digest: string }[] }, folder: string) => void,
  edit: (manifestText: string) => string = (text) => text,
): string {
  const folder = temporary(t);
  copyFixture(name, folder);
  const blob = (digest: string) => blobPath(folder, digest);
  const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
  const write = (text: string) => {
    const bytes = Buffer.from(text);
    const digest = sha256(bytes);
    if (!existsSync(blob(digest))) writeFileSync(blob(digest), bytes, { mode: 0o444 });
    return { digest, size: bytes.length };
  };
  const index = read(join(folder, 'index.json')) as { manifests: [{ digest: string; size: number }] };
  const manifest = read(blob(index.manifests[0].digest)) as Changeable;
  const config = read(blob(manifest.config.digest)) as { records: { digest: string }[] };
  change(manifest, config, folder);
  Object.assign(manifest.config, write(JSON.stringify(config)));
  Object.assign(index.manifests[0], write(edit(JSON.stringify(manifest))));
  writeFileSync(join(folder, 'index.json'), JSON.stringify(index));
  return folder;
}

/** Where a folder has a blob. */
export function blobPath(folder: string, digest: string): string {
  return join(folder, 'blobs', 'sha256', digest.slice('sha256:'.length));
}
