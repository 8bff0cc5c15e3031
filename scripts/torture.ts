import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bytesRound } from './torture/bytes.js';
import { crowdRound } from './torture/crowd.js';
import { damageRound } from './torture/damage.js';
import { canMount, fullDiskRound } from './torture/full-disk.js';
import { hostileLayers } from './torture/hostile-layers.js';
import { hostileRound } from './torture/hostile.js';
import { killRound } from './torture/kill.js';
import { Random } from './torture/random.js';
import { resetRound } from './torture/reset.js';
import { compareText } from '../src/oci/json.js';

// Tries to make bkcache lose something: kills it, fills its disk, damages its files, sets many processes on one folder,
// and feeds it nonsense. The same seed tries the same things; what the scheduler makes of them is another matter.
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    first: { type: 'string', default: '0' },
    seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
    only: { type: 'string', multiple: true },
    writers: { type: 'string', default: '16' },
    tags: { type: 'string', default: '100' },
  },
});
const first = Number(values.first);
const rounds = Number(values.rounds);
const seed = Number(values.seed);
const work = mkdtempSync(join(tmpdir(), 'bkcache-torture-'));
const crowd = { writers: Number(values.writers), tags: Number(values.tags) };
const mounts = canMount(work);
if (!mounts) process.stdout.write('SKIPPED full disks: nothing can be mounted here, which takes root\n');

const KINDS: Readonly<Record<string, (random: Random, round: number) => Promise<Record<string, number>>>> = {
  kill: (random) => killRound(random, work),
  'full-disk': (_, round) => (mounts ? fullDiskRound(round, work) : Promise.resolve({})),
  damage: (random) => damageRound(random, work),
  bytes: (random, round) => bytesRound(random, work, round),
  hostile: (random) => hostileRound(random, work),
  layers: (random) => hostileLayers(random),
  reset: (random) => resetRound(random, work),
  // As long as all the others together.
  crowd: (random, round) => (round % 20 === 0 ? crowdRound(random, work, crowd) : Promise.resolve({})),
};

// Ctrl-C ends it with what was tried until then.
const stopping = new AbortController();
process.once('SIGINT', () => stopping.abort()).once('SIGTERM', () => stopping.abort());

const totals = new Map<string, number>();
const only = values.only ?? Object.keys(KINDS);
process.stdout.write(`seed ${seed}, ${rounds} rounds of ${only.join(', ')}\n`);
const start = performance.now();
try {
  for (let round = first; round < first + rounds && !stopping.signal.aborted; round++) {
    for (const kind of only) {
      const counts = await KINDS[kind]?.(new Random(seed + round * 1000), round).catch((error: unknown) => {
        process.stderr.write(
          `lost in ${kind}: npm run torture -- --only ${kind} --seed ${seed} --first ${round} --rounds 1\n`,
        );
        throw error;
      });
      for (const [what, count] of Object.entries(counts ?? {})) totals.set(what, (totals.get(what) ?? 0) + count);
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
for (const [what, count] of [...totals].toSorted(([a], [b]) => compareText(a, b)))
  process.stdout.write(`${what}: ${count}\n`);
process.stdout.write(`nothing was lost, in ${((performance.now() - start) / 1000).toFixed(0)} s\n`);
