import { CacheError } from '../errors.js';

/**
 * A test for names by a pattern as shells have them: `*` any characters, `?` one, `[a-c]` and `[!a-c]` one of a set.
 * Tags are no paths: `*` crosses a slash.
 *
 * @param option - its name, for the message
 * @throws CacheError USAGE
 */
export function globTest(pattern: string, option: string): (name: string) => boolean {
  const source = pattern.replaceAll(
    /\[(!?)([^\]]+)\]|[\s\S]/g,
    (part, not: string | undefined, set: string | undefined) => {
      if (set !== undefined) return `[${not === '!' ? '^' : ''}${set.replaceAll(/[\\^[]/g, String.raw`\$&`)}]`;
      if (part === '*') return '.*';
      if (part === '?') return '.';
      return part.replace(/[$()*+./?[\\\]^{|}]/, String.raw`\$&`);
    },
  );
  const expression = regularExpression(`^(?:${source})$`);
  if (expression !== undefined) return (name) => expression.test(name);
  const message = `${option} takes a pattern such as pr-* or v[0-9], not "${pattern}"`;
  throw new CacheError('USAGE', message, { hint: 'a range such as [a-z] begins with what comes first' });
}

/** Undefined for what is none; all that a pattern can have wrong is a range. */
function regularExpression(source: string): RegExp | undefined {
  try {
    return new RegExp(source, 'su');
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
