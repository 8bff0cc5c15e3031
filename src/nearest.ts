import { distance } from 'fastest-levenshtein';

const letters = (word: string) => Array.from(word).toSorted().join('');

/**
 * The name that a misspelt word probably means: a name that starts with the word, or that differs from it in a few
 * letters or in their order.
 *
 * @returns undefined when no name is near
 */
export function nearest(word: string, names: Iterable<string>): string | undefined {
  const lower = word.toLowerCase();
  let best: string | undefined;
  let least = Math.floor(Math.max(word.length, 3) / 3) + 1;
  for (const name of names) {
    if (word.length >= 3 && name.startsWith(lower)) return name;
    const apart = letters(lower) === letters(name) ? 1 : distance(lower, name);
    if (apart < least) [best, least] = [name, apart];
  }
  return best;
}
