import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import prettyBytes from 'pretty-bytes';
import { backends } from '../../src/backend/backends.js';
import type { RequestCounts } from '../../src/backend/cache-store.js';
import { s3Keys } from '../../src/backend/config/bucket/bucket-keys.js';
import { bucketStore } from '../../src/backend/config/bucket/bucket-store.js';
import { collectGarbage } from '../../src/operations/gc.js';
import { listCaches } from '../../src/operations/list.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { table } from '../../src/report/text/table.js';
import { SimulatedBucket } from './simulated-bucket.js';

/**
 * Measures gc, verify and list of simulated buckets: memory, time, and requests with what they cost. Each is a process of its
 * own. `--blobs 1000000` names the largest bucket; there are smaller ones before it, to see whether the time is linear.
 */
const { values } = parseArgs({
  options: {
    blobs: { type: 'string', default: '1000000' },
    layers: { type: 'string', default: '200' },
    verb: { type: 'string' },
  },
});
const BLOBS_OF_A_MANIFEST = 100;
const VERBS = ['gc', 'verify', 'list'];
/** https://aws.amazon.com/s3/pricing, us-east-1, S3 Standard, in dollars a request. */
const PRICES: RequestCounts = { list: 5e-6, put: 5e-6, copy: 5e-6, get: 4e-7, head: 4e-7, delete: 0 };

interface Measured {
  readonly requests: RequestCounts;
  /** In seconds of CPU and of the clock. */
  readonly cpu: number;
  readonly wall: number;
  /** The most memory at any time, in bytes. */
  readonly memory: number;
}

if (values.verb === undefined) {
  const most = Number(values.blobs);
  const rows: string[][] = [];
  for (const blobs of [most / 100, most / 10, most]) {
    for (const verb of VERBS) {
      const args = [process.argv[1] ?? '', '--verb', verb, '--blobs', `${blobs}`, '--layers', values.layers];
      const { requests, cpu, wall, memory } = JSON.parse(execFileSync(process.execPath, args).toString()) as Measured;
      const kinds = Object.entries(requests).filter(([, count]) => count > 0);
      const dollars = kinds.reduce((sum, [kind, count]) => sum + count * PRICES[kind as keyof RequestCounts], 0);
      rows.push([
        verb,
        `${blobs}`,
        `${blobs / BLOBS_OF_A_MANIFEST}`,
        prettyBytes(memory),
        `${cpu.toFixed(1)} s`,
        `${wall.toFixed(1)} s`,
        kinds.map(([kind, count]) => `${count} ${kind}`).join(', '),
        `$${dollars.toFixed(4)}`,
      ]);
    }
  }
  process.stdout.write(table(['VERB', 'BLOBS', 'NAMES', 'MEMORY', 'CPU', 'TIME', 'REQUESTS', 'COST'], rows));
} else process.stdout.write(JSON.stringify(await measure(values.verb, Number(values.blobs), Number(values.layers))));

async function measure(verb: string, blobs: number, layers: number): Promise<Measured> {
  const bucket = new SimulatedBucket({ blobs, manifests: blobs / BLOBS_OF_A_MANIFEST, layers });
  let requests: RequestCounts | undefined;
  backends.set('s3', {
    locate: (options) => Promise.resolve({ options, name: bucket.name, selection: '', key: bucket.name }),
    source: () => Promise.reject(new Error('nothing is imported')),
    store({ options }) {
      const store = bucketStore(bucket, s3Keys, options);
      requests = store.requests;
      return Promise.resolve(store);
    },
  });
  const place = 'type=s3,bucket=simulated,region=here';
  const [start, before] = [performance.now(), process.cpuUsage()];
  await run(verb, place, blobs);
  const { user, system } = process.cpuUsage(before);
  if (requests === undefined) throw new Error('the bucket was not opened');
  return {
    requests,
    cpu: (user + system) / 1e6,
    wall: (performance.now() - start) / 1000,
    memory: process.resourceUsage().maxRSS * 1024,
  };
}

/** Runs a verb, and makes sure that it has done its work. */
async function run(verb: string, place: string, blobs: number): Promise<void> {
  const expect = (what: string, found: number, expected: number) => {
    if (found !== expected) throw new Error(`${what}: ${found} instead of ${expected}`);
  };
  if (verb === 'gc') {
    const { setAside, live } = await collectGarbage(place, { manifestsPrefixes: ['manifests/'] });
    expect('moved', setAside.count, blobs / 10);
    expect('live', live.count, (blobs * 9) / 10);
  } else if (verb === 'verify') {
    const { sound, blobs: found, tags } = await verifyFolder(place);
    if (!sound) throw new Error('not sound');
    expect('blobs', found, blobs + tags);
  } else {
    expect('names', (await listCaches(place)).length, blobs / BLOBS_OF_A_MANIFEST);
  }
}
