import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { makeLayout, makeTars } from './input.js';
import { plot } from './plot.js';
import { conversion } from './rows.js';
import { run } from './run.js';

/** One layer at one level. */
export interface Level {
  readonly compression: string;
  readonly level: number;
  /** Of the blob, in bytes. */
  readonly size: number;
  /** Of the whole command, in seconds. */
  readonly time: number;
}

const LEVELS: Readonly<Record<string, readonly number[]>> = {
  gzip: [1, 2, 3, 4, 5, 6, 7, 8, 9],
  estargz: [1, 6, 9],
  zstd: [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 17, 19, 22],
};
const SIZE = 40e6;

/** Packs a layer of 40 MB at every level that people choose. */
export async function measureLevels(tree: string, work: string): Promise<{ levels: Level[]; svg: string }> {
  const tars = makeTars(tree, join(work, 'input'), 'level', [SIZE]);
  const input = await makeLayout(join(work, 'input', 'level'), tars, 'tar');
  const out = join(work, 'out');
  const levels: Level[] = [];
  for (const [compression, chosen] of Object.entries(LEVELS)) {
    for (const level of chosen) {
      const command = conversion(input, out, compression, level);
      const { time } = await run(command.command, command.args, out);
      const blobs = join(out, 'blobs', 'sha256');
      const size = Math.max(...readdirSync(blobs).map((name) => statSync(join(blobs, name)).size));
      process.stderr.write(`${compression} ${level}: ${(size / 1e6).toFixed(1)} MB in ${time.toFixed(1)} s\n`);
      levels.push({ compression, level, size, time });
    }
  }
  const tarSize = statSync(tars[0] ?? '').size;
  return { levels, svg: plot(levels, tarSize) };
}
