import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Fault } from './fault.js';

const UNCOMPRESSED = 'containerd.io/uncompressed';
const CREATED_AT = 'buildkit/createdat';
const flipped = (bytes: Buffer) =>
  Buffer.from(bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 0x55 : byte)));

/** A result vanishes, the build fails, or nothing happens. */
export const BUILD_FAULTS: readonly Fault[] = [
  // A result vanishes.
  {
    of: 'cache',
    name: 'a layer that the manifest does not list',
    make: (f) =>
      f.changeManifest((m) => {
        const gone = m.layers[0]?.digest;
        m.layers = m.layers.filter(({ digest }) => digest !== gone);
      }),
    effect: 'results-vanish',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'no diffID',
    make: (f) => f.layers(({ annotations }) => delete annotations[UNCOMPRESSED]),
    effect: 'results-vanish',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a diffID that is no digest',
    make: (f) => f.layers(({ annotations }) => (annotations[UNCOMPRESSED] = 'x')),
    effect: 'results-vanish',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a layer whose date is malformed',
    make: (f) => f.layers(({ annotations }) => (annotations[CREATED_AT] = 'yesterday')),
    effect: 'results-vanish',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a layer whose date is empty',
    make: (f) => f.layers(({ annotations }) => (annotations[CREATED_AT] = '')),
    effect: 'results-vanish',
    repair: ['rewritten'],
  },
  // The build fails.
  {
    of: 'cache',
    name: 'layers are missing',
    make: (f) => f.blobs.forEach((path) => rmSync(path)),
    effect: 'build-fails',
    repair: ['cut'],
  },
  {
    of: 'cache',
    name: 'layers are cut short',
    make: (f) => f.blobs.forEach((path) => f.spoil(path, (bytes) => bytes.subarray(0, 20))),
    effect: 'build-fails',
    repair: ['cut', 'set-aside'],
  },
  {
    of: 'cache',
    name: 'layers are damaged',
    make: (f) => f.blobs.forEach((path) => f.spoil(path, flipped)),
    effect: 'build-fails',
    repair: ['cut', 'set-aside'],
  },
  {
    of: 'cache',
    name: 'layers are larger than the manifest says',
    make: (f) => f.layers((layer) => (layer.size -= 3)),
    effect: 'build-fails',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'layers are smaller than the manifest says',
    make: (f) => f.layers((layer) => (layer.size += 3)),
    effect: 'build-fails',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a media type of layers that is unknown',
    make: (f) => f.layers((layer) => (layer.mediaType = 'application/x')),
    effect: 'build-fails',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a media type of layers that is empty',
    make: (f) => f.layers((layer) => (layer.mediaType = '')),
    effect: 'build-fails',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'layers without a media type',
    make: (f) => f.layers((layer) => delete layer.mediaType),
    effect: 'build-fails',
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: "OCI's tar on gzip bytes",
    make: (f) => f.layers((layer) => (layer.mediaType = 'application/vnd.oci.image.layer.v1.tar')),
    effect: 'build-fails',
    repair: ['rewritten'],
  },
  // Nothing.
  {
    of: 'cache',
    name: 'a wrong diffID',
    make: (f) => f.layers((layer) => (layer.annotations[UNCOMPRESSED] = layer.digest)),
    effect: 'none',
    deep: true,
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'zstd on gzip bytes',
    make: (f) => f.layers((layer) => (layer.mediaType = 'application/vnd.oci.image.layer.v1.tar+zstd')),
    effect: 'none',
    isNote: true,
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a wrong size of the config',
    make: (f) => f.changeManifest(({ config }) => (config.size += 3)),
    effect: 'none',
    isNote: true,
    repair: ['rewritten'],
  },
  {
    of: 'cache',
    name: 'a wrong size in index.json',
    make: (f) => f.index((text) => text.replace(/"size":\s*\d+/, '"size":7')),
    effect: 'none',
    isNote: true,
    repair: ['corrected'],
  },
  {
    of: 'cache',
    name: 'another kind in index.json',
    make: (f) => f.index((text) => text.replace('vnd.oci.image.manifest', 'vnd.oci.image.index')),
    effect: 'none',
    isNote: true,
    repair: ['corrected'],
  },
  {
    of: 'cache',
    name: 'no oci-layout',
    make: (f) => rmSync(join(f.path, 'oci-layout')),
    effect: 'none',
    repair: ['marked'],
  },
  {
    of: 'cache',
    name: 'digests of records in upper case',
    make: (f) =>
      f.config(({ records }) => {
        for (const record of records) record.digest = record.digest.toUpperCase().replace('SHA256', 'sha256');
      }),
    effect: 'steps-run',
    isNote: true,
    repair: ['rewritten'],
  },
];
