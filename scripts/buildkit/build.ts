import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Builder, BuildRequest } from './builder.js';
import { type ImageLayer, readImage } from './image.js';
import { type Step, stepsOf } from './progress.js';

export interface Build {
  readonly steps: readonly Step[];
  /** The layers of the image; those of all its platforms, one platform after the other. */
  readonly image: readonly ImageLayer[];
  /** How long the build took. */
  readonly seconds: number;
}

/** The builds of all stages that have names, by name, and of the last stage under undefined. */
export type Builds = ReadonlyMap<string | undefined, Build>;

/**
 * Builds an image with BuildKit, and reads it.
 *
 * @param scratch - a folder for the image, which is read and removed
 * @throws CommandError when the build fails
 */
export async function build(builder: Builder, request: Omit<BuildRequest, 'output'>, scratch: string): Promise<Build> {
  const image = join(scratch, 'image');
  const start = performance.now();
  const progress = await builder.build({ ...request, output: `type=oci,tar=false,dest=${image}` });
  const seconds = (performance.now() - start) / 1000;
  try {
    return { steps: stepsOf(progress), image: await readImage(image), seconds };
  } finally {
    await rm(image, { recursive: true, force: true });
  }
}
