import { CacheError } from '../errors.js';
import { jsonLine } from '../report/text/control-characters.js';
import { untilInterrupted } from './interrupt.js';
import { tellNote } from './note.js';
import { parseChoice, parseCount, parseSize, parseText } from './quantities.js';
import { registryAccess } from './registry-access.js';
import {
  JSON_OPTION,
  LAYER_OPTION,
  LAYOUT_OPTIONS,
  layoutSettings,
  OUTPUT_OPTION,
  REGISTRY_OPTIONS,
  WORK_OPTIONS,
} from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = {
  output: { ...OUTPUT_OPTION, describe: 'File of the bundle; - for stdout' },
  have: {
    type: 'value',
    read: parseText,
    list: true,
    describe: 'What a receiver has ("bkcache have"): that stays out; of several receivers, what all of them have',
  },
  split: {
    type: 'value',
    read: parseSize,
    describe: 'Cut the bundle into parts of this size, with a checksum file (FILE.001, …, FILE.sha256)',
  },
  mode: { type: 'value', read: parseChoice('min', 'max'), describe: 'min keeps what the image needs' },
  compression: {
    type: 'value',
    read: parseChoice('uncompressed', 'gzip', 'estargz', 'zstd'),
    describe: 'Compression of layers [as they are]',
  },
  'compression-level': { type: 'value', read: parseCount(0, 22), describe: 'Level of the compression' },
  'force-compression': {
    type: 'flag',
    default: false,
    describe: 'Convert layers of another compression too',
  },
  'allow-oversize': { type: 'flag', default: false, describe: 'Write a config over 1 MiB, which BuildKit refuses' },
  ...JSON_OPTION,
  ...REGISTRY_OPTIONS,
  ...WORK_OPTIONS,
  ...LAYER_OPTION,
  ...LAYOUT_OPTIONS,
} as const;

export const pack = verb({
  name: 'pack',
  describe: 'Pack caches and images into one file, for a machine without a network',
  words: {
    cache: {
      type: 'value',
      read: parseText,
      list: true,
      required: true,
      names: 'folder or cache',
      describe: 'A folder, of which everything is packed, or an import string',
    },
  },
  options: OPTIONS,
  examples: [
    ['All caches of a folder', 'bkcache pack ./cache -o caches.tar'],
    [
      'One of them, as zstd',
      'bkcache pack type=local,src=./cache,tag=main --compression zstd --force-compression -o main.tar',
    ],
  ],
  async run(argv) {
    const isPiped = argv.output === '-';
    if (isPiped && process.stdout.isTTY) {
      throw new CacheError('USAGE', 'the bundle goes to stdout, and that is a terminal', {
        hint: 'name a file with -o FILE, or a pipe: bkcache pack … -o - | ssh HOST bkcache unpack -',
      });
    }
    if (isPiped && argv.json) {
      throw new CacheError('USAGE', 'the bundle goes to stdout, and --json too', { hint: 'name a file with -o FILE' });
    }
    if (argv.split === 0) throw new CacheError('USAGE', '--split takes a size above 0', { hint: 'such as 4GB' });
    const [{ packCaches }, { ProgressView }] = await Promise.all([
      import('../operations/bundle/pack.js'),
      import('./progress.js'),
    ]);
    const progress = await ProgressView.open(argv.quiet);
    try {
      const registry = await registryAccess(argv);
      const show = progress.work('written');
      const run = (signal: AbortSignal) =>
        packCaches({
          imports: argv.cache,
          output: isPiped ? process.stdout : argv.output,
          have: argv.have,
          split: argv.split,
          mode: argv.mode,
          compression: argv.compression,
          compressionLevel: argv['compression-level'],
          forceCompression: argv['force-compression'] || undefined,
          allowOversize: argv['allow-oversize'],
          concurrency: argv.concurrency,
          maxLayerSize: argv['max-layer-size'],
          windowMemory: argv['window-memory'],
          layout: layoutSettings(argv),
          registry,
          signal,
          onProgress: (event) => progress.show(event),
          onWrite: (bytes, total) => show(bytes === 0 ? { type: 'start', bytes: total } : { type: 'bytes', bytes }),
          onNote(note) {
            progress.end();
            tellNote(note);
          },
        });
      const result = await untilInterrupted(run);
      progress.end();
      if (argv.json) return void process.stdout.write(jsonLine(result));
      if (argv.quiet) return;
      const { packText } = await import('../report/text/bundle.js');
      (isPiped ? process.stderr : process.stdout).write(packText(isPiped ? 'stdout' : argv.output, result));
    } finally {
      progress.end();
    }
  },
});
