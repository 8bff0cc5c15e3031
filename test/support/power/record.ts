import fs from 'node:fs';
import fsp from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { wrapRenameat2 } from '../renameat2.js';
import { Recording } from './recording.js';
import { type Original, RECORDED, REFUSED, synchronous, wrappers } from './watched-fs.js';

/** Records what is done to a folder through node:fs, and by renameat2(2), while something runs. */
export async function record(root: string, run: () => Promise<unknown>): Promise<Recording> {
  const recording = new Recording(root);
  const original = { ...fsp };
  const wrapped = wrappers(recording, original);
  const before = { ...fs };
  Object.assign(fsp, wrapped);
  Object.assign(fs, synchronous(recording, before));
  // What is not seen here would be taken to survive.
  for (const name of REFUSED) {
    Object.assign(fs, {
      [name]: () => {
        throw new Error(`fs.${name} is not recorded`);
      },
    });
  }
  syncBuiltinESMExports();
  swaps = recording;
  try {
    await run();
  } finally {
    swaps = undefined;
    for (const name of Object.keys(wrapped) as (keyof Original)[]) Object.assign(fsp, { [name]: original[name] });
    for (const name of [...REFUSED, ...RECORDED]) Object.assign(fs, { [name]: before[name] });
    syncBuiltinESMExports();
  }
  return recording;
}

let swaps: Recording | undefined;

wrapRenameat2((renameat2) => (...values) => {
  const outcome = renameat2(...values);
  const [, from, , to, flags] = values;
  const [inner, place] = [swaps?.inside(from), swaps?.inside(to)];
  if (outcome === 0 && inner !== undefined && place !== undefined) {
    if (flags === 2) swaps?.swapped(inner, place);
    else swaps?.renamed(inner, place);
  }
  return outcome;
});
