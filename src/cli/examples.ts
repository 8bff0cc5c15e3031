/** Examples below a verb's help, whole and on lines of their own, so that they can be pasted. */
export function examples(...list: readonly (readonly [what: string, command: string])[]): string {
  return [
    'Examples:',
    ...list.flatMap(([what, command]) => [`  # ${what}`, `  ${command.replaceAll('\n', '\n    ')}`]),
  ].join('\n');
}
