#!/usr/bin/env node

/** Reports a limit of open files so low that this program cannot be loaded. The message needs no further files. */
function tellFewFiles(error: unknown): void {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code !== 'EMFILE' && code !== 'ENFILE') throw error;
  process.stderr.write('bkcache: too many files are open at once\n  hint: allow more with "ulimit -n 1024"\n');
  process.exit(1);
}

try {
  await (await import('./run.js')).run();
} catch (error) {
  tellFewFiles(error);
}
