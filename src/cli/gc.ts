import { jsonLine } from '../report/text/control-characters.js';
import { parseAge, parseChoice, parseText } from './quantities.js';
import { BUCKET_WORD, FOLDER_OPTIONS, JSON_OPTION, layoutSettings, REGISTRY_OPTIONS } from './shared-options.js';
import { tellNote } from './note.js';
import { verb } from './verb.js';

const OPTIONS = {
  ...JSON_OPTION,
  ...FOLDER_OPTIONS,
  'registry-ca': REGISTRY_OPTIONS['registry-ca'],
  grace: {
    type: 'value',
    read: parseAge,
    describe:
      'Keep blobs that were written within this time, since a running build may need them [1h; 48h in a bucket; 24h in GitHub]',
  },
  'manifests-prefix': {
    type: 'value',
    read: parseText,
    list: true,
    describe: 'For a bucket, required: a manifests_prefix whose caches use its blobs; give it for each of them',
  },
  quarantine: {
    type: 'value',
    read: parseChoice('copy', 'mark'),
    describe: 'For a bucket: what the first run makes of a blob; mark: for a bucket without room for copies [copy]',
  },
  force: { type: 'flag', default: false, describe: 'For a bucket: free blobs also where no cache is left at all' },
} as const;

export const gc = verb({
  name: 'gc',
  describe: 'Free what no tag needs, safely while builds run',
  words: BUCKET_WORD,
  options: OPTIONS,
  examples: [
    ['Show what would be freed', 'bkcache gc --dry-run ./cache'],
    ['Without a grace period, when no build or copy runs', 'bkcache gc --grace 0 ./cache'],
    ['The layers of GitHub Actions that no cache needs', 'bkcache gc --dry-run type=gha'],
    ['A bucket, in two runs', 'bkcache gc --manifests-prefix manifests/ type=s3,bucket=team-cache,region=eu-west-3'],
  ],
  async run(argv) {
    const [{ collectGarbage }, { readPlace, shownPlace }, { folderOrStore }, { untilInterrupted }] = await Promise.all([
      import('../operations/gc.js'),
      import('../backend/option-string.js'),
      import('./place.js'),
      import('./interrupt.js'),
    ]);
    const folder = await folderOrStore(argv.folder, argv.store);
    const result = await untilInterrupted(
      (signal) =>
        collectGarbage(folder, {
          grace: argv.grace,
          dryRun: argv['dry-run'],
          manifestsPrefixes: argv['manifests-prefix'],
          quarantine: argv.quarantine,
          force: argv.force || undefined,
          layout: layoutSettings(argv),
          registry: { ca: argv['registry-ca'] },
          onNote: tellNote,
          signal,
        }),
      () => (argv['dry-run'] ? undefined : 'blobs in quarantine stay there until the next gc'),
    );
    const place = shownPlace(folder, await readPlace(folder));
    if (argv.json) process.stdout.write(jsonLine({ folder: place, dryRun: argv['dry-run'], ...result }));
    else process.stdout.write((await import('../report/text/gc.js')).gcText(result, argv['dry-run']));
    if (result.refused !== undefined && result.refused.length > 0) process.exitCode = 1;
  },
});
