import { cpSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { DEFAULT_GRACE } from '../../src/layout/settings.js';
import { REF_NAME } from '../../src/oci/descriptor.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { fixture, temporary } from './fixtures.js';

// Folders of caches that tests and scripts read and change by hand, with other means than those that are tested.

/** Before the grace period of gc. */
export const OLD = new Date(Date.now() - 3 * DEFAULT_GRACE);

/** Copies a fixture to a folder, without what those who read the fixture at the same time have in it. */
export function copyFixture(name: string, folder: string): void {
  for (const part of ['oci-layout', 'index.json', 'blobs']) {
    cpSync(join(fixture(name), part), join(folder, part), { recursive: true });
  }
}

/** A copy of a fixture in a new folder, which a test may change. */
export function folderOf(t: ExecutionContext, name = 'max-gzip'): string {
  const folder = join(temporary(t), 'cache');
  copyFixture(name, folder);
  return folder;
}

/** A copy of a fixture that a test has damaged. */
export function damaged(t: ExecutionContext, damage: (folder: string) => void, name?: string): string {
  const folder = folderOf(t, name);
  damage(folder);
  return folder;
}

/** A copy older than the grace of gc, which then deletes what no tag needs. */
export function oldFolderOf(t: ExecutionContext, name: string): string {
  const folder = folderOf(t, name);
  setTimes(folder, OLD);
  return folder;
}

/** An old copy of the fixture with two tags; a third of its blobs is needed by none. */
export function grown(t: ExecutionContext): string {
  return oldFolderOf(t, 'grown');
}

/** Makes all files of a folder so many days old. */
export function age(folder: string, days: number): void {
  setTimes(folder, new Date(Date.now() - days * 86_400_000));
}

/** Sets the time of change of all files of a folder. */
export function setTimes(folder: string, time: Date): void {
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    utimesSync(join(folder, path), time, time);
  }
}

/** An entry of index.json. */
export interface Entry {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations: Record<string, string>;
}

/** The entries of index.json. */
export function entriesOf(folder: string): readonly Entry[] {
  return (JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: Entry[] }).manifests;
}

/** Makes an index.json of entries. */
export function writeEntries(folder: string, manifests: readonly object[]): void {
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
}

/** The tags in index.json, in its order. */
export function tagsOf(folder: string): (string | undefined)[] {
  return entriesOf(folder).map(({ annotations }) => annotations[REF_NAME]);
}

/** The path of a blob in a folder. */
export function blobPath(folder: string, digest: string): string {
  return join(folder, blobName(digest));
}

/** The path of a blob, relative to its folder. */
export function blobName(digest = ''): string {
  return join('blobs', ...digest.split(':'));
}

/**
 * Writes a blob.
 *
 * @param time - of its last change; now by default
 */
export function put(folder: string, text: string, time?: Date): { readonly digest: Digest; readonly size: number } {
  const digest = sha256(text);
  const path = blobPath(folder, digest);
  writeFileSync(path, text);
  if (time !== undefined) utimesSync(path, time, time);
  return { digest, size: Buffer.byteLength(text) };
}

/** What all blobs have together, in bytes. */
export function sizeOf(folder: string): number {
  const blobs = join(folder, 'blobs', 'sha256');
  return readdirSync(blobs).reduce((sum, name) => sum + statSync(join(blobs, name)).size, 0);
}

/**
 * The bytes of all files of a folder in hex, by their paths in it.
 *
 * @param without - leaves out the paths that it matches
 */
export function contentsOf(folder: string, without?: RegExp): Record<string, string> {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (path) => without?.test(path) !== true && statSync(join(folder, path)).isFile(),
  );
  return Object.fromEntries(paths.toSorted().map((path) => [path, readFileSync(join(folder, path), 'hex')]));
}
