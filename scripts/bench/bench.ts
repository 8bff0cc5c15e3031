import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../../src/report/text/table.js';
import { measureAgainst } from './against.js';
import { measureDelay } from './delay.js';
import { measureDeltas, printDeltas } from './deltas.js';
import { measureLevels } from './levels.js';
import { makeRows, type Row } from './rows.js';
import { median, run } from './run.js';
import { measureFloors } from './scale/floors.js';
import { measureScale } from './scale/scale.js';

/**
 * Measures bkcache beside its peers, with layers made from files of this machine. Each pair runs alternately, both
 * have to have done the same work, and medians are printed: as a table on stderr and as JSON on stdout.
 *
 * With `--against DIR` it measures two builds of bkcache instead: this one, and that in DIR/dist. With `--scale` it
 * measures how the time of each verb grows with what is in a folder, and fails where that is faster than the folder; then
 * some verbs beside the least that their work could be. `--sizes small` leaves out the largest folders, and the latter.
 *
 * With `--deltas` it measures deltas between layers instead; two tars as arguments are one more pair.
 *
 * Peers: apt-get install skopeo pigz zstd xdelta3 (Debian 12); apt-get install oras (Debian 13).
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    tree: { type: 'string', default: '/usr' },
    work: { type: 'string', default: join(tmpdir(), 'bkcache-bench') },
    against: { type: 'string' },
    only: { type: 'string' },
    levels: { type: 'boolean', default: false },
    scale: { type: 'boolean', default: false },
    deltas: { type: 'boolean', default: false },
    sizes: { type: 'string', default: 'all' },
    keep: { type: 'boolean', default: false },
  },
});
const MEMORY_LIMIT = 200e6;

interface Measured {
  readonly work: string;
  readonly peer: string;
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  readonly ratio: number;
  readonly limit: number;
  readonly memory: number;
}

async function measure(row: Row, runs: number, out: string): Promise<Measured> {
  const ours: number[] = [];
  const theirs: number[] = [];
  let memory = 0;
  // The first pair is checked, and not counted: it also brings the input into memory.
  for (let round = 0; round <= runs; round++) {
    const peer = await run(row.peer.command, row.peer.args, out);
    if (round === 0) row.peer.check(peer);
    const own = await run(row.ours.command, row.ours.args, out);
    if (round === 0) row.ours.check(own);
    memory = Math.max(memory, own.memory);
    if (round === 0) continue;
    theirs.push(peer.time);
    ours.push(own.time);
  }
  const ratio = median(ours) / median(theirs);
  return { work: row.work, peer: row.peer.name, ours, theirs, ratio, limit: row.limit, memory };
}

function isInstalled(tool: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${tool}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function print(measured: readonly Measured[]): void {
  const head = ['work', 'against', 'bkcache', 'peer', 'ratio', 'at most', 'memory'];
  const rows = measured.map(({ work, peer, ours, theirs, ratio, limit, memory }) => [
    work,
    peer,
    `${median(ours).toFixed(2)} s`,
    `${median(theirs).toFixed(2)} s`,
    `${ratio.toFixed(2)}${ratio > limit ? ' !' : ''}`,
    limit.toFixed(2),
    `${(memory / 1e6).toFixed(0)} MB${memory > MEMORY_LIMIT ? ' !' : ''}`,
  ]);
  process.stderr.write(table(head, rows));
}

mkdirSync(values.work, { recursive: true });
try {
  const { against, only, tree, work } = values;
  if (values.scale) {
    const small = values.sizes === 'small';
    const rows = await measureScale({ work, small, only: only ?? '' });
    const floors = small ? [] : await measureFloors({ work, tree, runs: Number(values.runs), only: only ?? '' });
    printJson({ rows, floors });
    if (rows.some(({ fits }) => !fits)) process.exitCode = 1;
  } else if (values.deltas) {
    const rows = await measureDeltas(tree, work, { pair: positionals, isInstalled });
    printDeltas(rows);
    printJson({ rows });
  } else if (against === undefined) await measurePeers();
  else printJson({ rows: await measureAgainst({ against, only, tree, work, runs: Number(values.runs) }) });
} finally {
  if (!values.keep) rmSync(values.work, { recursive: true, force: true });
}

async function measurePeers(): Promise<void> {
  const out = join(values.work, 'out');
  const measured: Measured[] = [];
  const skipped: string[] = [];
  process.stderr.write(`making the input from ${values.tree}\n`);
  const rows = await makeRows({ tree: values.tree, work: values.work });
  for (const row of rows.filter(({ work, peer }) => `${work} ${peer.name}`.includes(values.only ?? ''))) {
    const missing = row.needs.filter((tool) => !isInstalled(tool));
    if (missing.length > 0) {
      process.stderr.write(`SKIPPED: ${row.work}, since there is no ${missing.join(', ')}\n`);
      skipped.push(row.work);
      continue;
    }
    process.stderr.write(`${row.work}, against ${row.peer.name}\n`);
    measured.push(await measure(row, Number(values.runs), out));
  }
  print(measured);
  const delays = values.only === undefined ? await measureDelay(values.work, isInstalled('docker-registry')) : [];
  for (const { encoding, target, longest } of delays) {
    process.stderr.write(`longest wait of the event loop, ${encoding} to a ${target}: ${longest.toFixed(0)} ms\n`);
  }
  const levels = values.levels ? await measureLevels(values.tree, values.work) : undefined;
  printJson({ rows: measured, skipped, delays, levels });
  if (levels !== undefined) writeFileSync(new URL('../../../docs/compression.svg', import.meta.url), levels.svg);
  rmSync(out, { recursive: true, force: true });
}

function printJson(result: object): void {
  const machine = { node: process.version, cores: availableParallelism() };
  process.stdout.write(`${JSON.stringify({ ...machine, ...result }, undefined, 2)}\n`);
}
