import { jsonLine } from '../report/text/control-characters.js';
import { parseText } from './quantities.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import {
  BUCKET_WORD,
  FOLDER_OPTIONS,
  JSON_OPTION,
  LAYER_OPTION,
  layoutSettings,
  REGISTRY_OPTIONS,
  WORK_OPTIONS,
} from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = {
  from: {
    type: 'value',
    read: parseText,
    list: true,
    names: 'cache',
    describe: 'Where intact copies of blobs may be found: an import string or a path; may be given several times',
  },
  deep: {
    type: 'flag',
    default: false,
    describe: 'Decompress every layer, correct wrong diffIDs, and recompress layers with zeros after their end',
  },
  ...LAYER_OPTION,
  ...JSON_OPTION,
  ...WORK_OPTIONS,
  ...REGISTRY_OPTIONS,
  ...FOLDER_OPTIONS,
} as const;

export const repair = verb({
  name: 'repair',
  describe: 'Fetch missing and damaged blobs, and drop the results whose blobs cannot be fetched',
  words: BUCKET_WORD,
  options: OPTIONS,
  examples: [
    ['Show what would be done', 'bkcache repair --dry-run ./cache'],
    ['A bucket', 'bkcache repair type=s3,bucket=team-cache,region=eu-west-3'],
    ['With the intact blobs of another folder', 'bkcache repair --from ./cache-main ./cache'],
    ['Caches of GitHub Actions', 'bkcache repair --from ./cache type=gha'],
  ],
  async run(argv) {
    const [{ repairFolder }, { readPlace, shownPlace }, { folderOrStore }, { untilInterrupted }, { ProgressView }] =
      await Promise.all([
        import('../operations/repair/repair.js'),
        import('../backend/option-string.js'),
        import('./place.js'),
        import('./interrupt.js'),
        import('./progress.js'),
      ]);
    const folder = await folderOrStore(argv.folder, argv.store);
    const place = shownPlace(folder, await readPlace(folder));
    const progress = await ProgressView.open(argv.quiet);
    const options = {
      from: argv.from,
      deep: argv.deep,
      maxLayerSize: argv['max-layer-size'],
      windowMemory: argv['window-memory'],
      dryRun: argv['dry-run'],
      concurrency: argv.concurrency,
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    };
    const result = await untilInterrupted(
      (signal) => repairFolder(folder, { ...options, signal, onProgress: progress.work('read') }),
      () => (argv['dry-run'] ? undefined : 'the fetched blobs stay, and the next repair uses them'),
    ).finally(() => progress.end());
    if (argv.json) process.stdout.write(jsonLine({ folder: place, dryRun: argv['dry-run'], ...result }));
    else if (!argv.quiet) {
      const { repairText } = await import('../report/text/repair.js');
      process.stdout.write(repairText(place, result, argv['dry-run']));
    }
    if (!result.sound) process.exitCode = 4;
  },
});
