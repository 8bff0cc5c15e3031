import { CacheError } from '../errors.js';

/**
 * Splits one line of CSV with the quotes of RFC 4180, as the build tools do (tonistiigi/go-csvvalue).
 *
 * @throws CacheError USAGE for a quote in the wrong place
 */
export function parseCsvLine(line: string): string[] {
  const fields: string[] = [];
  // csvvalue accepts one line end, which a string from a file or a command often has.
  for (let rest = line.replace(/\r?\n$/, ''); ;) {
    const { field, end } = rest.startsWith('"') ? quoted(rest) : bare(rest);
    fields.push(field);
    if (end >= rest.length) return fields;
    rest = rest.slice(end + 1);
  }
}

/** A field as it is written in a line, with quotes if it needs them. */
export function formatCsvField(field: string): string {
  return /[",\r\n]|^\s/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}

function bare(rest: string): { field: string; end: number } {
  const comma = rest.indexOf(',');
  const field = comma === -1 ? rest : rest.slice(0, comma);
  if (field.includes('"')) {
    throw new CacheError('USAGE', `there is a bare quote in ${named(field)}`, {
      hint: 'put the whole field in quotes, and double the quotes inside: "src=a""b"',
    });
  }
  return { field, end: field.length };
}

function quoted(rest: string): { field: string; end: number } {
  const match = /^"((?:[^"]|"")*)"(?=,|$)/.exec(rest);
  if (match?.[1] === undefined) {
    throw new CacheError('USAGE', `the quotes of ${named(rest.slice(1))} do not close where the field ends`, {
      hint: 'a quoted field looks like "src=a,b"',
    });
  }
  return { field: match[1].replaceAll('""', '"'), end: match[0].length };
}

/** A field in a message: what is behind its "=" may be a secret. */
function named(field: string): string {
  return /^[\w.-]+=/.exec(field)?.[0] ?? 'a field';
}
