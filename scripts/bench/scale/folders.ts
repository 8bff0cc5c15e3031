import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { sha256 } from '../../../src/oci/digest.js';
import { FolderMaker, type WrittenLayer, type WrittenRecord } from './folder-maker.js';

// Folders of a build farm that nobody has cleaned for a year, each large in one way. The size is a number of things of
// that kind: of tags, of blobs, …

/** Makes a folder unless it is there; a run that was stopped leaves none. */
export function makeWhole(folder: string, make: (folder: string) => void): void {
  if (existsSync(folder)) return;
  rmSync(`${folder}.new`, { recursive: true, force: true });
  make(`${folder}.new`);
  renameSync(`${folder}.new`, folder);
}

/** How many layers stand on each other in a build. */
const STACK = 60;

/** So many tags, as of branches: each has layers that all have, layers that ten have, and layers of its own. */
export function makeTags(folder: string, size: number): void {
  const maker = new FolderMaker(folder);
  const base = [maker.layer('base'), maker.layer('toolchain')];
  for (let tag = 0; tag < size; tag++) {
    const own = [
      maker.layer(`packages ${Math.floor(tag / 10)}`),
      maker.layer(`sources ${tag}`),
      maker.layer(`built ${tag}`),
    ];
    const layers = stacked([...base, ...own]);
    const steps = layers.map((_, step): WrittenRecord => {
      const digest = sha256(step < base.length ? `step ${step}` : `step ${step} of ${tag}`);
      return { digest, ...linkTo(step - 1), layers: [{ layer: step, createdAt: timeOf(tag) }] };
    });
    maker.cache(`branch-${tag}`, layers, [...steps, { digest: sha256(`image ${tag}`), ...linkTo(steps.length - 1) }]);
  }
  maker.finish();
}

/** One small cache, and so many blobs of 1 kB that nothing needs. */
export function makeBlobs(folder: string, size: number): void {
  const maker = new FolderMaker(folder);
  maker.cache('latest', stacked([maker.layer('base')]), [
    { digest: sha256('step'), layers: [{ layer: 0, createdAt: timeOf(0) }] },
  ]);
  for (let blob = 0; blob < size; blob++) maker.layer(`unused ${blob}`);
  maker.finish();
}

/** One cache of so many records as builds make them: shallow and wide, with a layer for each fifth record. */
export function makeWide(folder: string, size: number, name = ''): void {
  const maker = new FolderMaker(folder);
  const layers = Array.from({ length: size / 5 }, (_, layer): WrittenLayer => {
    return { blob: maker.layer(`wide ${name} ${layer}`), parent: layer % STACK === 0 ? -1 : layer - 1 };
  });
  const records = Array.from({ length: size }, (_, record): WrittenRecord => {
    const digest = sha256(`wide ${name} ${record}`);
    if (record === 0) return { digest };
    const inputs = [
      [{ link: Math.floor(record / 3) }],
      ...(record % 4 === 0 ? [[{ link: record - 1, selector: '/src' }]] : []),
    ];
    if (record % 2 === 0) return { digest, inputs };
    return { digest, inputs, layers: [{ layer: record % layers.length, createdAt: timeOf(record) }] };
  });
  maker.cache('latest', layers, records);
  maker.finish();
}

/** One cache whose records are a single chain, and so are its layers. */
export function makeChain(folder: string, size: number): void {
  const maker = new FolderMaker(folder);
  const layers = stacked(Array.from({ length: size / 5 }, (_, layer) => maker.layer(`chain ${layer}`)));
  const records = Array.from({ length: size }, (_, record): WrittenRecord => {
    const result = { layer: Math.floor(record / 5), createdAt: timeOf(record) };
    return { digest: sha256(`chain ${record}`), ...linkTo(record - 1), layers: [result] };
  });
  maker.cache('latest', layers, records);
  maker.finish();
}

/** So many folders of one cache each, which share a sixth of their layers: `0`, `1`, … in the folder. */
export function makeCaches(folder: string, size: number): void {
  for (let cache = 0; cache < size; cache++) {
    const maker = new FolderMaker(join(folder, `${cache}`));
    const layers = stacked(
      Array.from({ length: STACK }, (_, layer) =>
        maker.layer(layer < STACK / 6 ? `shared ${layer}` : `${cache}.${layer}`),
      ),
    );
    const records = layers.map((_, layer): WrittenRecord => {
      const digest = sha256(layer < STACK / 6 ? `shared ${layer}` : `${cache}.${layer}`);
      return { digest, ...linkTo(layer - 1), layers: [{ layer, createdAt: timeOf(cache) }] };
    });
    maker.cache('latest', layers, records);
    maker.finish();
  }
}

/** One cache of so many layers, and as many records. */
export function makeLayers(folder: string, size: number): void {
  const maker = new FolderMaker(folder);
  const layers = Array.from({ length: size }, (_, layer): WrittenLayer => {
    return { blob: maker.layer(`layer ${layer}`), parent: layer % STACK === 0 ? -1 : layer - 1 };
  });
  const records = layers.map((_, layer): WrittenRecord => {
    return { digest: sha256(`layer ${layer}`), layers: [{ layer, createdAt: timeOf(layer) }] };
  });
  maker.cache('latest', layers, records);
  maker.finish();
}

function stacked(blobs: readonly WrittenLayer['blob'][]): WrittenLayer[] {
  return blobs.map((blob, layer) => ({ blob, parent: layer - 1 }));
}

function linkTo(link: number): Pick<WrittenRecord, 'inputs'> {
  return link < 0 ? {} : { inputs: [[{ link }]] };
}

/** Later for higher numbers, a minute each. */
function timeOf(number: number): string {
  return new Date(Date.UTC(2025, 0, 1) + number * 60_000).toISOString();
}
