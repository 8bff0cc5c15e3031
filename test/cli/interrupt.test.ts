import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { type Outcome, startCommand } from '../support/command.js';
import { importOf, temporary } from '../support/fixtures.js';
import { preload } from '../support/preload.js';

/** fsync(2) on a disk that is gone: it never returns, and says in a file that it was called. */
const HANGING = `
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
static int hang(void) {
  close(open(getenv("HANGING"), O_CREAT | O_WRONLY, 0600));
  for (;;) pause();
}
int fsync(int fd) { return fd > 2 ? hang() : 0; }
int fdatasync(int fd) { return fd > 2 ? hang() : 0; }
`;

/** Sends signals to a copy whose disk hangs, and waits for its end. */
async function stopped(t: ExecutionContext, signals: readonly NodeJS.Signals[]): Promise<Outcome | undefined> {
  const library = preload(t, HANGING);
  if (library === undefined) return undefined;
  const folder = temporary(t);
  const hanging = join(folder, 'hanging');
  const args = ['copy', '--import-cache', importOf('max-gzip'), '--export-cache', join(folder, 'out')];
  const { child, outcome } = startCommand(args, { LD_PRELOAD: library, HANGING: hanging });
  t.teardown(() => child.kill('SIGKILL'));
  while (!existsSync(hanging)) await sleep(20);
  for (const signal of signals) {
    child.kill(signal);
    // Signals that come together may be taken in either order.
    await sleep(200);
  }
  return outcome;
}

test('a process whose disk hangs ends by its signal, although nothing can be undone', async (t) => {
  const outcome = await stopped(t, ['SIGTERM']);
  if (outcome !== undefined) t.like(outcome, { code: null, signal: 'SIGTERM' });
});

test('a second signal ends the process at once', async (t) => {
  // After the time to undo it would be SIGINT.
  const outcome = await stopped(t, ['SIGINT', 'SIGTERM']);
  if (outcome !== undefined) t.like(outcome, { code: null, signal: 'SIGTERM' });
});
