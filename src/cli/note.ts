import { printed } from '../report/visible.js';

/** Says on stderr what somebody should know, and that is no failure. */
export function tellNote(note: string): void {
  process.stderr.write(printed([`bkcache: note: ${note}`]));
}
