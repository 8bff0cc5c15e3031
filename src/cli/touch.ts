import { jsonLine } from '../report/text/control-characters.js';
import { parseAge, parseText } from './quantities.js';
import { FOLDER_OPTIONS, JSON_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = {
  'older-than': { type: 'value', read: parseAge, describe: 'Touch only what is older than this [24h]' },
  names: {
    type: 'flag',
    default: false,
    describe: 'Touch the names as well, for a rule that lets them expire; prune --max-age counts from there',
  },
  ...JSON_OPTION,
  'registry-ca': REGISTRY_OPTIONS['registry-ca'],
  'dry-run': FOLDER_OPTIONS['dry-run'],
} as const;

export const touch = verb({
  name: 'touch',
  describe: 'Make the blobs that the caches of a bucket need young, for a bucket with a rule that removes old objects',
  words: {
    bucket: {
      type: 'value',
      read: parseText,
      required: true,
      names: 'folder or bucket',
      describe: 'The import string of a bucket, without a name',
    },
  },
  options: OPTIONS,
  examples: [['Every night, in a bucket', 'bkcache touch type=s3,bucket=team-cache,region=eu-west-3']],
  async run(argv) {
    const [{ touchCaches }, { readPlace, shownPlace }, { untilInterrupted }] = await Promise.all([
      import('../operations/touch.js'),
      import('../backend/option-string.js'),
      import('./interrupt.js'),
    ]);
    const result = await untilInterrupted(
      (signal) =>
        touchCaches(argv.bucket, {
          olderThan: argv['older-than'],
          names: argv.names,
          dryRun: argv['dry-run'],
          registry: { ca: argv['registry-ca'] },
          signal,
        }),
      () => (argv['dry-run'] ? undefined : 'what was touched stays young, and the next touch goes on'),
    );
    const place = shownPlace(argv.bucket, await readPlace(argv.bucket));
    if (argv.json) process.stdout.write(jsonLine({ bucket: place, dryRun: argv['dry-run'], ...result }));
    else process.stdout.write((await import('../report/text/touch.js')).touchText(result, argv['dry-run']));
    if (result.missing.length > 0) process.exitCode = 4;
    else if (result.refused.length > 0 || result.unread.length > 0) process.exitCode = 1;
  },
});
