import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Fault } from './fault.js';

const times = (text: string, time: string) => text.replace(/"createdAt":"[^"]*"/, `"createdAt":"${time}"`);

/** BuildKit skips or refuses the import. */
export const IMPORT_FAULTS: readonly Fault[] = [
  {
    of: 'cache',
    name: 'no index.json',
    make: (f) => rmSync(join(f.path, 'index.json')),
    effect: 'import-refused',
    repair: ['rebuilt'],
  },
  {
    of: 'cache',
    name: 'index.json is no JSON',
    make: (f) => f.index(() => 'x'),
    effect: 'import-refused',
    repair: ['rebuilt'],
  },
  {
    of: 'cache',
    name: 'index.json has a byte order mark',
    make: (f) => f.index((text) => `\ufeff${text}`),
    effect: 'import-refused',
    repair: ['rebuilt'],
  },
  {
    of: 'cache',
    name: 'index.json: "schemaVersion": "2"',
    make: (f) => f.index((text) => text.replace(/"schemaVersion":\s*2/, '"schemaVersion":"2"')),
    effect: 'import-refused',
    repair: ['rebuilt'],
  },
  {
    of: 'cache',
    name: 'manifest: "schemaVersion": "2"',
    make: (f) => f.manifestText((text) => text.replace(/"schemaVersion":2/, '"schemaVersion":"2"')),
    effect: 'import-refused',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'the manifest is missing',
    make: (f) => rmSync(f.manifestPath),
    effect: 'import-refused',
    repair: ['dropped'],
  },
  {
    of: 'cache',
    name: 'the config is missing',
    make: (f) => rmSync(f.configPath),
    effect: 'import-refused',
    repair: ['dropped'],
  },
  {
    of: 'cache',
    name: 'the config is cut short',
    make: (f) => f.spoil(f.configPath, (bytes) => bytes.subarray(0, 20)),
    effect: 'import-refused',
    repair: ['dropped', 'set-aside'],
  },
  {
    of: 'cache',
    name: 'the config is no JSON',
    make: (f) => f.configText((text) => `${text}x`),
    effect: 'import-refused',
    repair: ['dropped'],
  },
  {
    of: 'cache',
    name: 'the manifest is over 1 MiB',
    make: (f) => f.manifestText((text) => text.replace('{', `{${' '.repeat(1 << 20)}`)),
    effect: 'import-refused',
    stays: true,
  },
  {
    of: 'cache',
    name: 'the config is over 1 MiB',
    make: (f) => f.configText((text) => text.replace('{', `{${' '.repeat(1 << 20)}`)),
    effect: 'import-refused',
    stays: true,
  },
  {
    of: 'cache',
    name: 'both shapes: "manifests": []',
    make: (f) => f.changeManifest((m) => (m['manifests'] = [])),
    effect: 'import-refused',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'both shapes: "manifests": null',
    make: (f) => f.changeManifest((m) => (m['manifests'] = null)),
    effect: 'import-refused',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a media type that contradicts',
    make: (f) => f.changeManifest((m) => (m.mediaType = 'application/vnd.oci.image.index.v1+json')),
    effect: 'import-refused',
    repair: ['corrected'],
    stays: true,
  },
  {
    of: 'cache',
    name: '"link": 1.0',
    make: (f) => f.configText((text) => text.replace(/"link":(\d+)/, '"link":$1.0')),
    effect: 'import-refused',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a result of 30 February',
    make: (f) => f.configText((text) => times(text, '2025-02-30T03:04:05Z')),
    effect: 'import-refused',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a result of 24:00',
    make: (f) => f.configText((text) => times(text, '2025-02-28T24:00:00Z')),
    effect: 'import-refused',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a result whose date is empty',
    make: (f) => f.configText((text) => times(text, '')),
    effect: 'import-refused',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a parent out of range',
    make: (f) => f.config((c) => Object.assign(c.layers[0] ?? {}, { parent: 99 })),
    effect: 'import-refused',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'a parent of itself',
    make: (f) => f.config((c) => Object.assign(c.layers[0] ?? {}, { parent: 0 })),
    effect: 'import-refused',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'a result out of range',
    make: (f) => f.config((c) => Object.assign(c.records.find((r) => r.layers)?.layers?.[0] ?? {}, { layer: 99 })),
    effect: 'import-refused',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'a link out of range',
    make: (f) => f.config((c) => Object.assign(c.records.find((r) => r.inputs)?.inputs?.[0]?.[0] ?? {}, { link: 99 })),
    effect: 'import-refused',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'an input without alternatives',
    make: (f) => f.config((c) => Object.assign(c.records.find((r) => r.inputs) ?? {}, { inputs: [[]] })),
    effect: 'import-refused',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'an input that is null',
    make: (f) => f.config((c) => Object.assign(c.records.find((r) => r.inputs) ?? {}, { inputs: [null] })),
    effect: 'import-refused',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'a record that links to itself',
    make: (f) =>
      f.config((c) => {
        const at = c.records.findIndex((r) => r.inputs);
        Object.assign(c.records[at]?.inputs?.[0]?.[0] ?? {}, { link: at });
      }),
    effect: 'import-refused',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'a link to a record random:',
    make: (f) =>
      f.config((c) => {
        const link = c.records.find((r) => r.inputs)?.inputs?.[0]?.[0]?.link ?? 0;
        Object.assign(c.records[link] ?? {}, { digest: 'random:x' });
      }),
    effect: 'import-refused',
    repair: ['cut'],
  },
];
