import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { REF_NAME, UNCOMPRESSED } from '../../../src/oci/descriptor.js';
import { CACHE_CONFIG, OCI_MANIFEST } from '../../../src/oci/media-types.js';
import { sha256 } from '../../../src/oci/digest.js';
import { MAIN } from '../../support/command.js';
import { temporary } from '../../support/fixtures.js';
import { put, writeEntries } from '../../support/folders.js';
import { assertSound } from '../../support/sound.js';

/** A folder with a cache of many layers, each of one block of a tar. */
function cacheOf(t: ExecutionContext, count: number): string {
  const folder = temporary(t);
  mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const layers = Array.from({ length: count }, (_, number) => {
    const blob = put(folder, `${number}`.padEnd(512, '\0'));
    const annotations = { [UNCOMPRESSED]: blob.digest };
    return { mediaType: 'application/vnd.oci.image.layer.v1.tar', ...blob, annotations };
  });
  const config = put(
    folder,
    JSON.stringify({
      layers: layers.map(({ digest }, index) => ({ blob: digest, parent: index - 1 })),
      records: [{ layers: [{ layer: count - 1, createdAt: '2026-01-01T00:00:00Z' }], digest: sha256('a step') }],
    }),
  );
  const document = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: CACHE_CONFIG, ...config },
    layers,
  };
  writeEntries(folder, [
    { mediaType: OCI_MANIFEST, ...put(folder, JSON.stringify(document)), annotations: { [REF_NAME]: 'latest' } },
  ]);
  return folder;
}

for (const options of ['', ',compression=zstd,force-compression=true']) {
  test(`300 layers need no more than 64 open files: copy to type=local${options}`, async (t) => {
    const out = join(temporary(t), 'out');
    const [source, target] = [`type=local,src=${cacheOf(t, 300)}`, `type=local,dest=${out}${options}`];
    const copy = ['copy', '--quiet', '--no-fsync', '--import-cache', source, '--export-cache', target];
    const limited = ['-c', 'ulimit -n 64; exec "$@"', 'sh', process.execPath, MAIN, ...copy];
    const { status, stderr } = spawnSync('sh', limited);
    t.is(status, 0, stderr.toString());
    await assertSound(t, out);
  });
}
