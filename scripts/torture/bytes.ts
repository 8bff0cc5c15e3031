import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CacheError } from '../../src/errors.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { DAMAGED, filesOf, flip, isFound, isFreeText } from '../../test/support/damage.js';
import { copyFixture } from '../../test/support/folders.js';
import { insist } from './folder.js';
import type { Random } from './random.js';

/** After so many rounds each byte has had its turn. */
export const BYTE_ROUNDS = 200;

/**
 * Flips a bit in one of 200 bytes of each JSON document of each fixture, other ones in each round: verify finds it, and
 * nothing that reads the cache breaks on it.
 */
export async function bytesRound(random: Random, work: string, round: number): Promise<Record<string, number>> {
  let count = 0;
  for (const name of DAMAGED) {
    const folder = join(work, 'bytes');
    mkdirSync(folder, { recursive: true });
    copyFixture(name, folder);
    for (const path of filesOf(folder)) {
      const bytes = readFileSync(join(folder, path));
      if (bytes[0] !== '{'.charCodeAt(0)) continue;
      for (let at = round % BYTE_ROUNDS; at < bytes.length; at += BYTE_ROUNDS) {
        if (path === 'index.json' && isFreeText(bytes, at)) continue;
        const bit = 1 << random.below(8);
        // No checksum covers these, and Go reads names in any case.
        if (['index.json', 'oci-layout'].includes(path) && isCaseOfName(bytes, at, bit)) continue;
        const { what, undo } = flip(folder, path, at, bit);
        insist(await isFound(folder, false), `verify has not found that in ${name} ${what}`);
        await inspectCache(`type=local,src=${folder}`).catch((error: unknown) => {
          insist(error instanceof CacheError, `inspect on ${name} with ${what}: ${String(error)}`);
        });
        undo();
        count++;
      }
    }
    rmSync(folder, { recursive: true });
  }
  return { 'flipped bytes of JSON': count };
}

/** Whether a bit is the case of a letter in the name of a field. */
function isCaseOfName(bytes: Buffer, at: number, bit: number): boolean {
  const isLetter = /[a-z]/i.test(String.fromCharCode(bytes[at] ?? 0));
  return bit === 32 && isLetter && /^[a-z]*"\s*:/i.test(bytes.toString('latin1', at, at + 100));
}
