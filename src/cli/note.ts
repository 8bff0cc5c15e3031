import { escapedLines } from '../report/text/control-characters.js';

/** Says on stderr what somebody should know, and that is no failure. */
export function tellNote(note: string): void {
  process.stderr.write(escapedLines([`bkcache: note: ${note}`]));
}
