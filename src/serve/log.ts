import { pino } from 'pino';
import type { RequestLog } from './server.js';

/** How much may wait to be written, in bytes; a reader that stands still loses lines, and stops nobody. */
const WAITING = 4 * 1024 * 1024;

/** The log of a server: a line in JSON for each request, on stdout. */
export interface Log {
  readonly request: (line: RequestLog) => void;
  readonly info: (message: string) => void;
  readonly error: (message: string) => void;
  /** Writes what waits. */
  flush(): void;
}

export function openLog(): Log {
  const to = pino.destination({ fd: 1, sync: false, minLength: 0, maxLength: WAITING });
  // The reader of the log may have gone.
  to.on('error', () => undefined);
  const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, to);
  return {
    request: (line) => (line.error === undefined || line.status < 500 ? log.info(line) : log.error(line)),
    info: (message) => log.info(message),
    error: (message) => log.error(message),
    flush: () => {
      try {
        to.flushSync();
      } catch {
        // Nothing was opened, or its reader has gone.
      }
    },
  };
}
