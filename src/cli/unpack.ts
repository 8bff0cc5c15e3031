import { CacheError } from '../errors.js';
import { jsonLine } from '../report/text/control-characters.js';
import { untilInterrupted } from './interrupt.js';
import { tellNote } from './note.js';
import { parseText } from './quantities.js';
import { registryAccess } from './registry-access.js';
import { EXPORT_OPTION, layoutSettings, STORE_OPTION, TRANSFER_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const { required: _, ...EXPORT } = EXPORT_OPTION['export-cache'];

const OPTIONS = {
  into: { type: 'value', read: parseText, describe: 'Tag for the one cache in the bundle [the tags of the bundle]' },
  'export-cache': { ...EXPORT, describe: 'Target: a folder, or the string of an export; the store when left out' },
  ...STORE_OPTION,
  ...TRANSFER_OPTIONS,
} as const;

export const unpack = verb({
  name: 'unpack',
  describe: 'Unpack a bundle into the store or another place',
  words: {
    bundle: {
      type: 'value',
      read: parseText,
      list: true,
      required: true,
      describe: 'The file of the bundle, its parts in any order, or - for stdin',
    },
  },
  options: OPTIONS,
  examples: [
    ['Into a folder', 'bkcache unpack caches.tar --export-cache ./cache'],
    ['Through a pipe, such as that of ssh HOST', 'bkcache pack ./cache | bkcache unpack -'],
  ],
  async run(argv) {
    const isPiped = argv.bundle.includes('-');
    if (isPiped) refuseForStdin(argv.bundle, argv['password-stdin']);
    const [{ unpackCaches }, { ProgressView }] = await Promise.all([
      import('../operations/bundle/unpack.js'),
      import('./progress.js'),
    ]);
    const progress = await ProgressView.open(argv.quiet);
    try {
      const registry = await registryAccess(argv);
      const run = (signal: AbortSignal) =>
        unpackCaches({
          bundle: isPiped ? process.stdin : argv.bundle,
          into: argv.into,
          store: argv.store,
          exports: argv['export-cache'],
          concurrency: argv.concurrency,
          hardlink: argv.hardlink,
          allowOversize: argv['allow-oversize'],
          maxLayerSize: argv['max-layer-size'],
          windowMemory: argv['window-memory'],
          layout: { ...layoutSettings(argv), heal: argv.heal },
          registry,
          signal,
          onProgress: (event) => progress.show(event),
          onNote(note) {
            progress.end();
            tellNote(note);
          },
        });
      const result = await untilInterrupted(run);
      progress.end();
      if (argv.json) process.stdout.write(jsonLine(result));
      else if (!argv.quiet)
        process.stdout.write((await import('../report/text/bundle.js')).unpackText(result, isPiped));
    } finally {
      progress.end();
    }
  },
});

/** @throws CacheError USAGE */
function refuseForStdin(bundle: readonly string[], isPasswordThere: boolean): void {
  if (bundle.length > 1) {
    throw new CacheError('USAGE', '- is the bundle on stdin, and there are files too', {
      hint: 'unpack one bundle at a time',
    });
  }
  if (isPasswordThere) {
    throw new CacheError('USAGE', 'the bundle comes on stdin, and so does the password', {
      hint: 'use "docker login" before, or unpack the bundle from a file',
    });
  }
  if (process.stdin.isTTY) {
    throw new CacheError('USAGE', 'the bundle comes on stdin, and stdin is a terminal', {
      hint: 'bkcache pack … -o - | bkcache unpack -',
    });
  }
}
