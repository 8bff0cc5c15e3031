import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { inspectCache } from '../../src/operations/inspect.js';
import { BUCKET_TYPES, startBucketService } from '../support/bucket-services.js';
import { startRegistry } from '../support/docker-registry.js';
import { importOf } from '../support/fixtures.js';
import type { Server } from '../support/process.js';
import { assertSound } from '../support/sound.js';
import { copy } from './bucket-tests.js';

/** A place for caches: its import and export strings, by the name of a cache. */
interface Place {
  readonly type: string;
  readonly imports: (name: string) => string;
  readonly exports: (name: string) => string;
}

const CONVERSIONS = [
  '',
  'compression=zstd,force-compression=true',
  'compression=uncompressed,force-compression=true',
  'mode=min,compression=gzip,compression-level=1,force-compression=true',
];
const SOURCES = [importOf('max-gzip'), importOf('max-zstd'), importOf('grown', 'feature')];

if (process.env['BKCACHE_TEST_OBJECTS'] === undefined) {
  test.skip('this needs services of buckets and a registry: npm run test:objects', (t) => t.pass());
} else {
  const folder = mkdtempSync(join(tmpdir(), 'bkcache-matrix-'));
  // What layers became is remembered there.
  process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
  const servers: Server[] = [];
  const places: Place[] = [];
  test.before(async () => {
    const local = join(folder, 'local');
    places.push({
      type: 'local',
      imports: (name) => `type=local,src=${local},tag=${name}`,
      exports: (name) => `type=local,dest=${local},tag=${name}`,
    });
    const registry = await startRegistry(join(folder, 'registry'));
    servers.push(registry);
    const ref = (name: string) => `type=registry,ref=${registry.host}/cache:${name}`;
    places.push({ type: 'registry', imports: ref, exports: ref });
    for (const type of BUCKET_TYPES) {
      const server = await startBucketService(type, join(folder, type), AbortSignal.timeout(600_000));
      servers.push(server);
      const at = await server.bucket();
      const named = (name: string) => `${at},name=${name}`;
      places.push({ type, imports: named, exports: named });
    }
  });
  test.after.always(async () => {
    for (const server of servers) await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [number, source] of SOURCES.entries()) {
    test(`a cache goes from each place to each, converted and not, and is the same everywhere: ${source}`, async (t) => {
      const start = `start-${number}`;
      for (const { exports } of places) await copy(source, exports(start));
      for (const [index, options] of CONVERSIONS.entries()) {
        const graphs: unknown[] = [];
        const digests = new Map<string | undefined, Set<string>>();
        for (const from of places) {
          for (const to of places) {
            const name = `${number}-${index}-${from.type}`;
            const exported = [to.exports(name), options].filter((part) => part !== '').join(',');
            const { descriptor, shape } = await copy(from.imports(start), exported);
            const { layers, records, mode } = await inspectCache(to.imports(name));
            const told = layers.map(({ digest, size, diffID, createdAt }) => ({ digest, size, diffID, createdAt }));
            graphs.push({ layers: told, records, mode });
            t.deepEqual(graphs.at(-1), graphs[0], `${from.type} to ${to.type}, ${options}`);
            const known = digests.get(shape) ?? new Set();
            digests.set(shape, known.add(descriptor.digest));
          }
        }
        t.deepEqual(
          [...digests].map(([shape, { size }]) => [shape, size]),
          [
            ['image-manifest', 1],
            [undefined, 1],
          ],
          options,
        );
      }
    });
  }

  test('a cache that has gone round all places is the cache that set out, to the byte', async (t) => {
    const [first, ...others] = places as [Place, ...Place[]];
    const { descriptor } = await copy(importOf('max-gzip'), first.exports('round-0'));
    let at = first.imports('round-0');
    for (const { imports, exports } of [...others, ...others.toReversed(), first]) {
      await copy(at, exports('round'));
      at = imports('round');
    }
    const back = await copy(at, `type=local,dest=${join(folder, 'back')}`);
    t.is(back.descriptor.digest, descriptor.digest);
    await assertSound(t, join(folder, 'back'));
  });
}
