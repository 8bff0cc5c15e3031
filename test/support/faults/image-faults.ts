import { rmSync } from 'node:fs';
import type { Fault } from './fault.js';

const OTHER = `sha256:${'1'.repeat(64)}`;

/** Faults of caches inside images. */
export const IMAGE_FAULTS: readonly Fault[] = [
  {
    of: 'image',
    name: 'no history',
    make: (f) => f.config((c) => delete c['history']),
    effect: 'daemon-exits',
    repair: ['rewritten'],
  },
  {
    of: 'image',
    name: 'a history that is too short',
    make: (f) => f.config((c) => (c['history'] = [{ created_by: 'x' }])),
    effect: 'daemon-exits',
    repair: ['rewritten'],
  },
  {
    of: 'image',
    name: 'a history that is null',
    make: (f) => f.config((c) => (c['history'] = null)),
    effect: 'daemon-exits',
    repair: ['rewritten'],
  },
  {
    of: 'image',
    name: 'a date in the history that is none',
    make: (f) => f.config((c) => (c['history'] = [{ created: OTHER }])),
    effect: 'import-refused',
    stays: true,
  },
  {
    of: 'image',
    name: 'fewer diffIDs than layers',
    make: (f) => f.config((c) => (c['rootfs'] as { diff_ids: string[] }).diff_ids.pop()),
    effect: 'results-vanish',
    stays: true,
  },
  {
    of: 'image',
    name: 'a cache that is not base64',
    make: (f) => f.config((c) => (c['moby.buildkit.cache.v0'] = '%%%')),
    effect: 'import-refused',
    stays: true,
  },
  {
    of: 'image',
    name: 'a cache that is no JSON',
    make: (f) => f.config((c) => (c['moby.buildkit.cache.v0'] = 'eHg=')),
    effect: 'import-refused',
    stays: true,
  },
  {
    of: 'image',
    name: 'a layer is missing',
    make: (f) => rmSync(f.blobs[0] ?? ''),
    effect: 'build-fails',
    stays: true,
  },
  {
    of: 'image',
    name: 'a media type of layers that is unknown',
    make: (f) => f.layers((layer) => (layer.mediaType = 'application/x')),
    effect: 'build-fails',
    repair: ['rewritten'],
  },
  {
    of: 'image',
    name: 'layers are smaller than the manifest says',
    make: (f) => f.layers((layer) => (layer.size += 3)),
    effect: 'build-fails',
    repair: ['rewritten'],
  },
];
