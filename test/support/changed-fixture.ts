import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { sha256 } from '../../src/oci/digest.js';
import { blobPath, folderOf } from './folders.js';

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
  const folder = folderOf(t, name);
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
