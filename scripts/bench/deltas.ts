import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { table } from '../../src/report/text/table.js';
import { makeTars } from './input.js';
import { run } from './run.js';

const WORK = fileURLToPath(new URL('delta-work.js', import.meta.url));
const SIZE = 258e6;
const BLOCK = 512;

/** One delta by one tool. */
export interface DeltaRow {
  readonly change: string;
  readonly tool: string;
  /** Of the delta, in bytes. */
  readonly size: number;
  /** Processor time in seconds, and the most memory in bytes. */
  readonly make: { readonly cpu: number; readonly memory: number };
  readonly apply: { readonly cpu: number; readonly memory: number };
}

/** A tool by the commands that make and apply a delta. */
interface Tool {
  readonly name: string;
  readonly needs: string;
  /** Whether it takes minutes, and makes smaller deltas only where much is new. */
  readonly isSlow?: boolean;
  readonly make: (old: string, tar: string, delta: string) => string;
  readonly apply: (old: string, delta: string, tar: string, size: number) => string;
}

const zstd = (level: number): Tool => ({
  name: `zstd -${level} --patch-from`,
  needs: 'zstd',
  isSlow: level > 9,
  make: (old, tar, delta) => `zstd -qf -${level} --long=31 '--patch-from=${old}' '${tar}' -o '${delta}'`,
  apply: (old, delta, tar) => `zstd -qfd --long=31 '--patch-from=${old}' '${delta}' -o '${tar}'`,
});
const xdelta = (name: string, options: string): Tool => ({
  name,
  needs: 'xdelta3',
  make: (old, tar, delta) => `xdelta3 -q -f -e -9 ${options} -s '${old}' '${tar}' '${delta}'`,
  apply: (old, delta, tar) => `xdelta3 -q -f -d ${options} -s '${old}' '${delta}' '${tar}'`,
});
const bkcache = (level: 'normal' | 'max'): Tool => ({
  name: level === 'max' ? 'bkcache, max' : 'bkcache',
  needs: 'node',
  make: (old, tar, delta) =>
    `'${process.execPath}' '${WORK}' make ${level} '${old}' ${diffID(old)} '${tar}' ${diffID(tar)} '${delta}'`,
  apply: (old, delta, tar, size) =>
    `'${process.execPath}' '${WORK}' apply '${delta}' '${old}' ${diffID(old)} ${size} ${diffID(tar)} '${tar}.made'`,
});

const TOOLS: readonly Tool[] = [
  bkcache('normal'),
  bkcache('max'),
  zstd(3),
  zstd(19),
  xdelta('xdelta3 -9 djw', '-S djw'),
  xdelta('xdelta3 -9 lzma', '-S lzma -B 536870912'),
];

const digests = new Map<string, string>();

function diffID(path: string): string {
  const known = digests.get(path);
  if (known !== undefined) return known;
  const digest = `sha256:${execFileSync('sha256sum', [path], { encoding: 'utf8' }).slice(0, 64)}`;
  digests.set(path, digest);
  return digest;
}

/**
 * Measures deltas between two layers of 258 MB, by bkcache and by the tools that people have: one file changed, all times
 * changed, and with `pair` the two given tars, such as two versions of a distribution.
 */
export async function measureDeltas(
  tree: string,
  work: string,
  { pair, isInstalled }: { readonly pair: readonly string[]; readonly isInstalled: (tool: string) => boolean },
): Promise<DeltaRow[]> {
  const folder = join(work, 'input');
  const [old = ''] = makeTars(tree, folder, 'delta', [SIZE]);
  const changes: [change: string, old: string, tar: string][] = [
    ['one file, a byte in 4096', old, join(folder, 'delta-a.tar')],
    ['all times', old, join(folder, 'delta-b.tar')],
  ];
  writeFileSync(join(folder, 'delta-a.tar'), withOneFileChanged(readFileSync(old)));
  writeFileSync(join(folder, 'delta-b.tar'), withNewTimes(readFileSync(old)));
  const [first, second] = pair;
  if (first !== undefined && second !== undefined) {
    const copies = [join(folder, 'delta-old.tar'), join(folder, 'delta-c.tar')] as const;
    copyFileSync(first, copies[0]);
    copyFileSync(second, copies[1]);
    changes.push(['the given pair', ...copies]);
  }
  const rows: DeltaRow[] = [];
  for (const [change, from, tar] of changes) {
    for (const tool of TOOLS) {
      if (tool.isSlow === true && from === old) continue;
      if (tool.needs !== 'node' && !isInstalled(tool.needs)) continue;
      rows.push(await measure(change, tool, { from, tar, out: join(work, 'out') }));
    }
  }
  return rows;
}

async function measure(
  change: string,
  tool: Tool,
  { from, tar, out }: { readonly from: string; readonly tar: string; readonly out: string },
): Promise<DeltaRow> {
  const delta = `${out}.delta`;
  const copy = `${out}.tar`;
  // The shell becomes the tool, so that its memory is that of the tool.
  const make = await run('sh', ['-ec', `exec ${tool.make(from, tar, delta)}`], out);
  digests.set(copy, diffID(tar));
  const apply = await run('sh', ['-ec', `exec ${tool.apply(from, delta, copy, statSync(tar).size)}`], out);
  const made = tool.needs === 'node' ? `${copy}.made` : copy;
  execFileSync('cmp', [made, tar]);
  const size = statSync(delta).size;
  process.stderr.write(`${change}, ${tool.name}: ${size} bytes in ${make.cpu.toFixed(1)} s\n`);
  return { change, tool: tool.name, size, make, apply };
}

/** Where the headers of a tar that makeTars made begin, and the sizes of the contents behind them. */
function headersOf(tar: Buffer): { readonly start: number; readonly size: number }[] {
  const headers: { readonly start: number; readonly size: number }[] = [];
  for (let start = 0; start < tar.length && tar[start] !== 0;) {
    const isLink = '12'.includes(tar.toString('latin1', start + 156, start + 157));
    const size = isLink ? 0 : Number.parseInt(tar.toString('latin1', start + 124, start + 135), 8);
    headers.push({ start, size });
    start += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return headers;
}

/** A byte in 4096 of the file that is nearest to 1.3 MB. */
function withOneFileChanged(tar: Buffer): Buffer {
  const nearness = ({ size }: { readonly size: number }) => Math.abs(size - 1.3e6);
  const [file] = headersOf(tar).toSorted((a, b) => nearness(a) - nearness(b));
  if (file === undefined) throw new Error('the tar is empty');
  let state = 1;
  for (let at = 0; at + 4096 <= file.size; at += 4096) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const place = file.start + BLOCK + at + (state >>> 20);
    tar[place] = (tar[place] ?? 0) + 1 + (state % 255);
  }
  return tar;
}

/** Every time a new one, spread over a minute. */
function withNewTimes(tar: Buffer): Buffer {
  const headers = headersOf(tar);
  for (const [index, { start }] of headers.entries()) {
    const time = 1_790_000_000 + Math.floor((index * 60) / headers.length);
    tar.write(`${time.toString(8).padStart(11, '0')}\0        `, start + 136, 'latin1');
    const sum = tar.subarray(start, start + BLOCK).reduce((all, byte) => all + byte, 0);
    tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, start + 148, 'latin1');
  }
  return tar;
}

export function printDeltas(rows: readonly DeltaRow[]): void {
  const head = ['change', 'tool', 'bytes', 'make, CPU', 'memory', 'apply, CPU', 'memory'];
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  const lines = rows.map(({ change, tool, size, make, apply }) => [
    change,
    tool,
    `${size}`,
    `${make.cpu.toFixed(1)} s`,
    megabytes(make.memory),
    `${apply.cpu.toFixed(1)} s`,
    megabytes(apply.memory),
  ]);
  process.stderr.write(table(head, lines));
}
