import { CacheError, type Side } from '../../../errors.js';

/**
 * The error for an object of a cache that cannot be read.
 *
 * @param bucket - with its name for messages
 * @param what - the object, and what is wrong with it
 */
export function lostObject(
  { name, side }: { readonly name: string; readonly side: Side },
  what: string,
  wrong: 'missing' | 'size',
): CacheError {
  return new CacheError('CORRUPT', `${name}: ${what}`, {
    hint: 'the cache is incomplete, perhaps since a rule of the bucket removes or archives old objects; export it again',
    side,
    wrong,
  });
}
