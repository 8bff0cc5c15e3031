import { isOptionString } from '../buildkit/values.js';
import { jsonLine } from '../report/text/control-characters.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import { parseSample, parseText } from './quantities.js';
import {
  JSON_OPTION,
  LAYER_OPTION,
  LOCK_OPTION,
  REGISTRY_OPTIONS,
  STORE_OPTION,
  WORK_OPTIONS,
} from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = {
  ...JSON_OPTION,
  ...STORE_OPTION,
  ...WORK_OPTIONS,
  ...LAYER_OPTION,
  ...LOCK_OPTION,
  ...REGISTRY_OPTIONS,
  deep: { type: 'flag', default: false, describe: 'Decompress every layer, and check its diffID' },
  sample: { type: 'value', read: parseSample, describe: 'Read a part of the blobs: 1/7 (then 2/7, …), 10% or 2GB' },
} as const;

export const verify = verb({
  name: 'verify',
  describe: 'Find everything that is wrong with a folder or a bucket, or with one cache in any place',
  words: {
    cache: {
      type: 'value',
      read: parseText,
      names: 'folder or cache',
      describe: 'A folder or an import string; the store when left out',
    },
  },
  options: OPTIONS,
  examples: [
    ['Everything in a folder', 'bkcache verify --deep ./cache'],
    ['A seventh of it each night', 'bkcache verify --sample 1/7 ./cache'],
    ['One cache', 'bkcache verify type=local,src=./cache,tag=main'],
    ['A bucket: names, presence and sizes', 'bkcache verify type=s3,bucket=team-cache,region=eu-west-3'],
  ],
  async run(argv) {
    const [
      { verifyCache, verifyFolder },
      { isWholePlace, readImport },
      { folderOrStore },
      { untilInterrupted },
      { ProgressView },
    ] = await Promise.all([
      import('../operations/verify/verify.js'),
      import('../backend/option-string.js'),
      import('./place.js'),
      import('./interrupt.js'),
      import('./progress.js'),
    ]);
    const target = await folderOrStore(argv.cache, argv.store);
    const isOne = isOptionString(target) && !isWholePlace(await readImport(target));
    const progress = await ProgressView.open(argv.quiet);
    const options = {
      deep: argv.deep,
      sample: argv.sample,
      maxLayerSize: argv['max-layer-size'],
      windowMemory: argv['window-memory'],
      concurrency: argv.concurrency,
      registry: await registryAccess(argv),
      layout: { lockTimeout: argv['lock-timeout'] },
    };
    const result = await untilInterrupted((signal) => {
      const settings = { ...options, signal, onProgress: progress.work('read'), onNote: tellNote };
      return isOne ? verifyCache(target, settings) : verifyFolder(target, settings);
    }).finally(() => progress.end());
    if (argv.json) process.stdout.write(jsonLine(result));
    else if (!argv.quiet) process.stdout.write((await import('../report/text/verify.js')).verifyText(result));
    if (!result.sound) process.exitCode = 4;
  },
});
