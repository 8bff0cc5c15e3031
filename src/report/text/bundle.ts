import prettyBytes from 'pretty-bytes';
import type { PackResult } from '../../operations/bundle/pack.js';
import type { UnpackResult } from '../../operations/bundle/unpack.js';
import { escapedLines } from './control-characters.js';
import { quantity } from './phrases.js';

/** The result of a pack as text. */
export function packText(output: string, { entries, size, required, duration }: PackResult): string {
  const left = required.reduce((sum, blob) => sum + blob.size, 0);
  return escapedLines([
    `${output}: ${prettyBytes(size)}, ${seconds(duration)}`,
    ...entries.map(({ kind, tag, digest, layers }) => `  ${tag}: ${kind} ${digest}, ${quantity(layers, 'layer')}`),
    ...(required.length === 0
      ? []
      : [`  left out, since the receiver has it: ${quantity(required.length, 'layer')} (${prettyBytes(left)})`]),
  ]);
}

/**
 * The result of an unpack as text.
 *
 * @param isPiped - whether its layers were written before the caches, so that each cache found all of them
 */
export function unpackText({ entries, reused, duration }: UnpackResult, isPiped: boolean): string {
  return escapedLines([
    ...entries.map(({ kind, target, tag, descriptor, ...entry }) => {
      const written = 'actions' in entry && !isPiped ? `, ${entry.actions.present} already there` : '';
      return `${target}: ${tag}: ${kind} ${descriptor.digest}, ${quantity(entry.layers, 'layer')}${written}`;
    }),
    ...(reused === 0 ? [] : [`  ${quantity(reused, 'layer')} used in the compression that the receiver has`]),
    `  ${seconds(duration)}`,
  ]);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
