import { escapedLines } from '../report/text/control-characters.js';

/** Prints a note on stderr: information that is no failure. */
export function tellNote(note: string): void {
  process.stderr.write(escapedLines([`bkcache: note: ${note}`]));
}
