import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { copyCache } from '../../src/index.js';

const RESOLUTION = 5;

/** How long the event loop of a program that converts had to wait at most, in milliseconds, at the highest levels that promise it. */
export async function measureDelay(work: string): Promise<{ readonly encoding: string; readonly longest: number }[]> {
  const delays: { encoding: string; longest: number }[] = [];
  const out = join(work, 'out');
  for (const encoding of ['gzip,compression-level=9', 'zstd,compression-level=9', 'estargz,compression-level=9']) {
    rmSync(out, { recursive: true, force: true });
    const monitor = monitorEventLoopDelay({ resolution: RESOLUTION });
    monitor.enable();
    await copyCache({
      imports: [`type=local,src=${join(work, 'input', 'mixed-gzip')}`],
      exports: [`type=local,dest=${out},compression=${encoding},force-compression=true`],
      onProgress: () => undefined,
    });
    monitor.disable();
    delays.push({ encoding, longest: monitor.max / 1e6 - RESOLUTION });
  }
  return delays;
}
