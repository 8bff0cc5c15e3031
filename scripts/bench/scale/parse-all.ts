import { readFileSync } from 'node:fs';
import { join } from 'node:path';

// The least that a listing could be: `node parse-all.js FOLDER` parses the manifest and the config of each tag with
// JSON.parse. It checks no digest and no field.

interface Manifest {
  readonly config: { readonly digest: string };
}

const [folder = ''] = process.argv.slice(2);
const read = (...path: string[]): unknown => JSON.parse(readFileSync(join(folder, ...path), 'utf8'));
const { manifests } = read('index.json') as { manifests: { digest: string }[] };
let records = 0;
for (const { digest } of manifests) {
  const { config } = read('blobs', digest.replace(':', '/')) as Manifest;
  const parsed = read('blobs', config.digest.replace(':', '/')) as { records: unknown[] };
  records += parsed.records.length;
}
process.stdout.write(`${manifests.length} tags, ${records} records\n`);
