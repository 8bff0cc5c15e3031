import type { CopyOptions, CopyResult } from '../copy.js';
import { CacheError } from '../errors.js';
import { untilInterrupted } from './interrupt.js';
import { type Arguments, layoutSettings, type TRANSFER_OPTIONS } from './shared-options.js';

type Settings = Omit<CopyOptions, 'imports' | 'exports'>;

/** Runs a copy with what all copying verbs share: progress, Ctrl-C, and a summary or JSON at the end. */
export async function runCopy(
  argv: Arguments<typeof TRANSFER_OPTIONS>,
  copy: (settings: Settings) => Promise<CopyResult>,
): Promise<void> {
  const { ProgressView } = await import('./progress.js');
  const progress = new ProgressView(argv.quiet);
  try {
    const concurrency = concurrencyOf(argv.concurrency);
    const layout = { ...layoutSettings(argv), heal: argv.heal };
    const result = await untilInterrupted((signal) =>
      copy({
        concurrency,
        hardlink: argv.hardlink,
        allowOversize: argv['allow-oversize'],
        layout,
        signal,
        onProgress: (event) => progress.show(event),
      }),
    );
    progress.end();
    for (const { target, error } of result.ignored) {
      process.stderr.write(
        `bkcache: export to ${target} failed and is ignored, as ignore-error=true says: ${error.message}\n`,
      );
    }
    if (argv.json) process.stdout.write(`${JSON.stringify({ ...result, ignored: result.ignored.map(plain) })}\n`);
    else if (!argv.quiet) process.stdout.write((await import('../report/summary.js')).summary(result));
  } finally {
    progress.end();
  }
}

function plain({ target, error }: CopyResult['ignored'][number]): object {
  return { target, error: error.message };
}

export function concurrencyOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 256) return value;
  throw new CacheError('USAGE', `--concurrency takes a whole number from 1 to 256, not ${JSON.stringify(text)}`);
}
