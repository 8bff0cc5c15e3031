import { jsonLine } from '../report/text/control-characters.js';
import { CacheError } from '../errors.js';
import { BUCKET_WORD, FOLDER_OPTIONS, JSON_OPTION, layoutSettings, REGISTRY_OPTIONS } from './shared-options.js';
import { parseCount, parseAge, parseSize, parseText } from './quantities.js';
import { tellNote } from './note.js';
import { verb } from './verb.js';

const OPTIONS = {
  'max-size': {
    type: 'value',
    read: parseSize,
    describe:
      'Evict results until all caches fit, least recently used first; of GitHub Actions, free what no cache needs',
  },
  'max-age': { type: 'value', read: parseAge, describe: 'Drop tags that were not used for this time, such as 30d' },
  keep: { type: 'value', read: parseText, list: true, describe: 'Leave these tags as they are (a glob)' },
  'keep-last': {
    type: 'value',
    read: parseCount(0),
    describe: 'Keep this many tags of each kind: pr-1, pr-2, … are one kind',
  },
  untag: {
    type: 'value',
    read: parseText,
    list: true,
    describe: 'Drop tags all of whose names match (a glob)',
  },
  'fit-import-limit': {
    type: 'flag',
    default: false,
    describe: 'Evict results from configs over 1 MiB, which BuildKit refuses',
  },
  'require-size': {
    type: 'flag',
    default: false,
    describe: 'Fail (exit 1) when protected tags keep --max-size or the import limit from being reached',
  },
  ...JSON_OPTION,
  ...FOLDER_OPTIONS,
  'registry-ca': REGISTRY_OPTIONS['registry-ca'],
  grace: {
    type: 'value',
    read: parseAge,
    describe: 'Keep blobs of a folder that were written within this time, since a running build may need them [1h]',
  },
} as const;

export const prune = verb({
  name: 'prune',
  describe: 'Keep a folder or a bucket of caches to a size and an age',
  words: BUCKET_WORD,
  options: OPTIONS,
  examples: [
    ['Show what would be dropped and freed', 'bkcache prune --max-size 10GB --max-age 30d --dry-run ./cache'],
    ['The last five of each kind of tag, and main', 'bkcache prune --keep-last 5 --keep main ./cache'],
    ['The caches of pull requests', "bkcache prune --untag 'pr-*' ./cache"],
    ['A repository below the quota of GitHub Actions', 'bkcache prune --max-size 8GB type=gha'],
    ['Names in a bucket', 'bkcache prune --max-age 30d type=s3,bucket=team-cache,region=eu-west-3'],
  ],
  async run(argv) {
    const [{ prune }, { folderOrStore }, { untilInterrupted }] = await Promise.all([
      import('../operations/prune/prune.js'),
      import('./place.js'),
      import('./interrupt.js'),
    ]);
    const options = {
      maxSize: argv['max-size'],
      maxAge: argv['max-age'],
      keepLast: argv['keep-last'],
      keep: argv.keep,
      untag: argv.untag,
      fitImportLimit: argv['fit-import-limit'],
      grace: argv.grace,
      dryRun: argv['dry-run'],
      layout: layoutSettings(argv),
      registry: { ca: argv['registry-ca'] },
      onNote: tellNote,
    };
    if (
      [options.maxSize, options.maxAge, options.keepLast, options.untag].every((rule) => rule === undefined) &&
      !options.fitImportLimit
    ) {
      throw new CacheError('USAGE', 'prune needs at least one rule', {
        hint: 'name --max-size, --max-age, --keep-last, --untag or --fit-import-limit; "bkcache gc" frees what no tag needs',
      });
    }
    if (argv['require-size'] && options.maxSize === undefined && !options.fitImportLimit) {
      throw new CacheError('USAGE', '--require-size needs a size', { hint: 'name --max-size or --fit-import-limit' });
    }
    const folder = await folderOrStore(argv.folder, argv.store);
    const result = await untilInterrupted(
      (signal) => prune(folder, { ...options, signal }),
      () => (options.dryRun ? undefined : 'blobs in quarantine stay there until the next gc or prune'),
    );
    if (argv.json) process.stdout.write(jsonLine({ dryRun: options.dryRun, ...result }));
    else process.stdout.write((await import('../report/text/prune.js')).pruneText(result, options.dryRun));
    if (result.unmet.length > 0 && argv['require-size']) process.exitCode = 1;
  },
});
