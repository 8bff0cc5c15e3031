/**
 * A test for names by a pattern as shells have them: `*` any characters, `?` one, `[a-c]` and `[!a-c]` one of a set.
 * Tags are no paths: `*` crosses a slash.
 */
export function globTest(pattern: string): (name: string) => boolean {
  const source = pattern.replaceAll(
    /\[(!?)([^\]]+)\]|[\s\S]/g,
    (part, not: string | undefined, set: string | undefined) => {
      if (set !== undefined) return `[${not === '!' ? '^' : ''}${set.replaceAll(/[\\^[]/g, String.raw`\$&`)}]`;
      if (part === '*') return '.*';
      if (part === '?') return '.';
      return part.replace(/[$()*+./?[\\\]^{|}]/, String.raw`\$&`);
    },
  );
  const expression = new RegExp(`^(?:${source})$`, 'su');
  return (name) => expression.test(name);
}
