import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import type { Cache } from '../../src/backend/backend.js';
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

/** The folders in fixtures/caches, caches of other forms than layouts included. */
export const FIXTURE_FOLDERS: readonly string[] = readdirSync(CACHES).toSorted();

/** The path of a fixture, which no test changes. */
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

/** A folder that goes when the test has ended. */
export function temporary(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'bkcache-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
