import { CacheError } from '../errors.js';
import { escapedLines, jsonLine } from '../report/text/control-characters.js';
import { quantity } from '../report/text/phrases.js';
import { tellNote } from './note.js';
import { folderOrStore } from './place.js';
import { parseText } from './quantities.js';
import { registryAccess } from './registry-access.js';
import {
  JSON_OPTION,
  layoutSettings,
  LOCK_OPTION,
  OUTPUT_OPTION,
  REGISTRY_OPTIONS,
  STORE_OPTION,
} from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = {
  output: { ...OUTPUT_OPTION, describe: 'File for the list; - for stdout' },
  ...JSON_OPTION,
  ...REGISTRY_OPTIONS,
  ...STORE_OPTION,
  ...LOCK_OPTION,
} as const;

export const have = verb({
  name: 'have',
  describe: 'List the layers that are here, for "bkcache pack --have" on another machine',
  words: {
    place: {
      type: 'value',
      read: parseText,
      list: true,
      names: 'folder or cache',
      describe: 'Folders or import strings; the store when left out',
    },
  },
  options: OPTIONS,
  examples: [
    ['What the store has, for the machine that packs', 'bkcache have -o have'],
    ['For a person', 'bkcache have --json ./cache'],
  ],
  async run(argv) {
    const { output } = argv;
    if (!argv.json && output === '-' && process.stdout.isTTY) {
      throw new CacheError('USAGE', 'the list is no text, and stdout is a terminal', {
        hint: 'write it to a file (-o FILE), or show it with --json',
      });
    }
    const places = argv.place ?? [await folderOrStore(undefined, argv.store)];
    if (argv.place !== undefined) await folderOrStore(argv.place[0], argv.store);
    const { listLayers } = await import('../operations/bundle/have.js');
    const { bytes, blobs, diffIDs } = await listLayers(places, {
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    });
    const shown = argv.json ? jsonLine({ blobs, diffIDs }) : bytes;
    if (output === '-') process.stdout.write(shown);
    else {
      const { writeWhole } = await import('../backend/bundle/bundle-output.js');
      await writeWhole(output, Buffer.from(shown));
      if (!argv.json) process.stdout.write(escapedLines([`${output}: ${quantity(blobs.length, 'layer')}`]));
    }
  },
});
