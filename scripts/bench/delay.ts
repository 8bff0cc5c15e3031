import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { copyCache } from '../../src/index.js';
import { startRegistry } from '../../test/support/docker-registry.js';

const RESOLUTION = 5;
/** The highest levels that promise it. */
const ENCODINGS = ['gzip,compression-level=9', 'zstd,compression-level=9', 'estargz,compression-level=9'];

export interface Delay {
  readonly encoding: string;
  readonly target: 'folder' | 'registry';
  /** In milliseconds. */
  readonly longest: number;
}

/**
 * How long the event loop of a program that converts had to wait at most.
 *
 * @param withRegistry - whether there is a docker-registry, to which everything goes through the main thread
 */
export async function measureDelay(work: string, withRegistry: boolean): Promise<Delay[]> {
  const delays: Delay[] = [];
  const out = join(work, 'out');
  const input = `type=local,src=${join(work, 'input', 'mixed-gzip')}`;
  for (const encoding of ENCODINGS) {
    rmSync(out, { recursive: true, force: true });
    delays.push({ encoding, target: 'folder', longest: await longest(input, `type=local,dest=${out}`, encoding) });
  }
  if (!withRegistry) return delays;
  const folder = join(work, 'registry');
  const registry = await startRegistry(folder);
  try {
    for (const encoding of ENCODINGS) {
      const ref = `type=registry,ref=${registry.host}/delay:${encoding.replaceAll(/\W/g, '-')}`;
      delays.push({ encoding, target: 'registry', longest: await longest(input, ref, encoding) });
    }
  } finally {
    await registry.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return delays;
}

async function longest(from: string, to: string, encoding: string): Promise<number> {
  const monitor = monitorEventLoopDelay({ resolution: RESOLUTION });
  monitor.enable();
  await copyCache({
    imports: [from],
    exports: [`${to},compression=${encoding},force-compression=true`],
    onProgress: () => undefined,
  });
  monitor.disable();
  return monitor.max / 1e6 - RESOLUTION;
}
