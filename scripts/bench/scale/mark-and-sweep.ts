import { readdirSync, readFileSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

// The least that gc could be: `node mark-and-sweep.js FOLDER [--dry-run]` deletes the blobs of a layout that index.json
// does not lead to. It takes no lock, sees no build and no other process, checks no digest, and keeps no blob for an hour.

interface Document {
  readonly config?: { readonly digest: string };
  readonly layers?: readonly { readonly digest: string }[];
  readonly manifests?: readonly { readonly digest: string }[];
}

const [folder = '', mode] = process.argv.slice(2);
const blobs = join(folder, 'blobs', 'sha256');

function namesIn(path: string): string[] {
  const { config, layers = [], manifests = [] } = JSON.parse(readFileSync(path, 'utf8')) as Document;
  return [...(config === undefined ? [] : [config]), ...layers, ...manifests].map(({ digest }) => digest.slice(7));
}

const live = new Set<string>();
for (const manifest of namesIn(join(folder, 'index.json'))) {
  live.add(manifest);
  for (const name of namesIn(join(blobs, manifest))) live.add(name);
}
let [count, bytes] = [0, 0];
for (const name of readdirSync(blobs)) {
  if (live.has(name)) continue;
  const path = join(blobs, name);
  bytes += statSync(path).size;
  count++;
  if (mode !== '--dry-run') unlinkSync(path);
}
process.stdout.write(`${count} blobs, ${bytes} bytes\n`);
