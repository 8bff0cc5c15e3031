import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { copyFixture, temporary } from './fixtures.js';

const old = new Date(Date.now() - 3 * 3_600_000);

/** A copy of a cache with two tags, none of it young. */
export function grown(t: ExecutionContext): string {
  const folder = join(temporary(t), 'cache');
  copyFixture('grown', folder);
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' }))
    utimesSync(join(folder, path), old, old);
  return folder;
}

/** Makes all files of a folder so many days old. */
export function age(folder: string, days: number): void {
  const then = new Date(Date.now() - days * 86_400_000);
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' }))
    utimesSync(join(folder, path), then, then);
}

/** An entry of index.json. */
export interface Entry {
  readonly digest: string;
  readonly annotations: Record<string, string>;
}

export const entriesOf = (folder: string) =>
  (JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: Entry[] }).manifests;
export const pathOf = (folder: string, digest: string) =>
  join(folder, 'blobs', 'sha256', digest.slice('sha256:'.length));

/** Writes a blob. */
export function put(folder: string, text: string): { readonly digest: Digest; readonly size: number } {
  const digest = sha256(text);
  writeFileSync(pathOf(folder, digest), text);
  return { digest, size: Buffer.byteLength(text) };
}

/** What all blobs have together, in bytes. */
export function sizeOf(folder: string): number {
  const sizes = readdirSync(join(folder, 'blobs', 'sha256')).map(
    (name) => statSync(join(folder, 'blobs', 'sha256', name)).size,
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

export const writeEntries = (folder: string, manifests: readonly object[]) =>
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
export const tagsOf = (folder: string) =>
  entriesOf(folder).map(({ annotations }) => annotations['org.opencontainers.image.ref.name']);
