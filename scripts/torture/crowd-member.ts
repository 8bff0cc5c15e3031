import { setTimeout as sleep } from 'node:timers/promises';
import { layoutReader } from '../../src/backend/local/layout-reader.js';
import { loadCache } from '../../src/backend/repository/load-cache.js';
import { collectGarbage } from '../../src/operations/gc.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { CacheError } from '../../src/errors.js';
import { tagOf } from '../../src/layout/index/index-json.js';
import { checkContent } from '../../src/layout/blobs/blob-file.js';
import { readIndex } from '../../src/layout/index/index-read.js';
import { openLayout } from '../../src/layout/layout.js';
import { prune } from '../../src/operations/prune/prune.js';
import { fixture } from '../../test/support/fixtures.js';
import { Random } from './random.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../../src/layout/settings.js';

// One process of a crowd: what it does until it is done, or until its standard input ends; it prints how often it did it.
const [role, folder = '', name = '', count = '0', seed = '0'] = process.argv.slice(2);
const random = new Random(Number(seed));
const SOURCES = ['max-gzip', 'max-zstd', 'min-gzip', 'min-zstd-index', 'max-gzip-index', 'max-uncompressed'];
const layout = { durable: false, lockTimeout: 60_000 };
const stopping = new AbortController();
process.stdin.on('end', () => stopping.abort()).resume();

async function write(tag: string): Promise<void> {
  const imports = [`type=local,src=${fixture(random.pick(SOURCES))}`];
  await copyCache({ imports, exports: [`type=local,dest=${folder},tag=${tag}`], layout });
}

/** Follows a tag that stays down to the bytes of its layers. */
async function read(): Promise<void> {
  const opened = await openLayout(folder, { ...DEFAULT_LAYOUT_SETTINGS, ...layout });
  const { manifests } = await readIndex(opened);
  const entries = manifests.filter((entry) => tagOf(entry)?.startsWith('w') === true);
  if (entries.length === 0) return;
  const cache = await loadCache(layoutReader(opened), random.pick(entries));
  for (const descriptor of cache.graph.descriptors.values()) {
    await checkContent(cache.blob(descriptor), descriptor, { where: folder });
  }
}

async function repeat(act: () => Promise<unknown>): Promise<number> {
  let times = 0;
  while (!stopping.signal.aborted) {
    try {
      await act();
      times++;
    } catch (error) {
      // Before the first tag is written.
      if (!(error instanceof CacheError && error.code === 'NOT_FOUND')) throw error;
    }
    await sleep(random.below(20));
  }
  return times;
}

let times = Number(count);
if (role === 'write') for (let tag = 0; tag < Number(count); tag++) await write(`${name}-${tag}`);
else if (role === 'write-junk') times = await repeat(() => write(`junk-${random.below(20)}`));
else if (role === 'read') times = await repeat(read);
else {
  times = await repeat(async () => {
    await collectGarbage(folder, { grace: 0, layout });
    await prune(folder, { untag: ['junk-*'], grace: 0, layout });
  });
}
process.stdout.write(`${times}`);
process.exit(0);
