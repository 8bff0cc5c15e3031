import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Daemon } from './daemon.js';
import { type ImageLayer, readImage } from './image.js';
import { type Step, stepsOf } from './progress.js';

export interface BuildOptions {
  /** Folder of the build context. */
  readonly context: string;
  /** A stage of the Dockerfile; the last one by default. */
  readonly target?: string | undefined;
  /** The values of `--cache-from` and `--cache-to`. */
  readonly cacheFrom?: readonly string[];
  readonly cacheTo?: readonly string[];
}

export interface Build {
  readonly steps: readonly Step[];
  readonly image: readonly ImageLayer[];
  /** How long `docker buildx build` took. */
  readonly seconds: number;
}

/** The builds of all stages that have names, by name, and of the last stage under undefined. */
export type Builds = ReadonlyMap<string | undefined, Build>;

/** How often BuildKit is asked to forget; what the last build still holds goes only when that has let go of it. */
const PRUNES = 20;
/** In milliseconds. */
const PAUSE = 100;

/**
 * Forgets all that BuildKit has cached by itself.
 *
 * @throws Error when something stays
 */
export async function prune(daemon: Daemon): Promise<void> {
  let left = '';
  for (let count = 0; count < PRUNES; count++) {
    if (count > 0) await sleep(PAUSE);
    await daemon.inside('docker', ['buildx', 'prune', '--all', '--force']);
    left = (await daemon.inside('docker', ['buildx', 'du'])).stdout;
    if (/^Total:\s+0B$/m.test(left)) return;
  }
  throw new Error(`BuildKit does not forget:\n${left}`);
}

/**
 * Builds an image with BuildKit.
 *
 * @param scratch - a folder for the image, which is read and removed
 * @throws CommandError when the build fails
 */
export async function build(daemon: Daemon, options: BuildOptions, scratch: string): Promise<Build> {
  const image = join(scratch, 'image');
  const { context, target, cacheFrom = [], cacheTo = [] } = options;
  const start = performance.now();
  const { stderr } = await daemon.inside('docker', [
    'buildx',
    'build',
    '--network=host',
    '--progress=rawjson',
    `--output=type=oci,tar=false,dest=${image}`,
    ...(target === undefined ? [] : ['--target', target]),
    ...cacheFrom.flatMap((value) => ['--cache-from', value]),
    ...cacheTo.flatMap((value) => ['--cache-to', value]),
    context,
  ]);
  const seconds = (performance.now() - start) / 1000;
  try {
    return { steps: stepsOf(stderr), image: await readImage(image), seconds };
  } finally {
    await rm(image, { recursive: true, force: true });
  }
}
