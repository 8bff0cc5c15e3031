import { createHash } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Effect } from '../../src/backend/finding.js';

/** One thing that is wrong with a cache, and what BuildKit and bkcache make of it. */
export interface Fault {
  readonly name: string;
  /** Whether it is one of a cache with a manifest of its own, or of one inside an image. */
  readonly of: 'cache' | 'image';
  /** Changes a folder with one tag, as BuildKit wrote it, in nothing else. */
  readonly make: (folder: FaultyFolder) => void;
  /** What BuildKit does; seen with 0.25.2. */
  readonly effect: Effect;
  /** Whether it is only noted: exit code 0. */
  readonly isNote?: boolean;
  /** Whether only unpacking shows it. */
  readonly deep?: boolean;
  /** What repair does about it; nothing where it is left out. */
  readonly repair?: readonly string[];
  /** Whether something is wrong still after that. */
  readonly stays?: boolean;
}

interface Layer {
  mediaType?: string | undefined;
  digest: string;
  size: number;
  annotations: Record<string, string>;
}

interface Manifest {
  mediaType?: string;
  config: { digest: string; size: number };
  layers: Layer[];
  [field: string]: unknown;
}

interface Config {
  layers: { blob: string; parent?: number }[];
  records: {
    digest: string;
    layers?: { layer: number }[];
    inputs?: ({ link: number }[] | null)[];
  }[];
  [field: string]: unknown;
}

/** A folder with one tag, changed by hand. Documents that change get the digests of their new bytes. */
export class FaultyFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  blob(digest: string): string {
    return join(this.path, 'blobs', ...digest.split(':'));
  }

  index(change: (text: string) => string): void {
    const file = join(this.path, 'index.json');
    writeFileSync(file, change(readFileSync(file, 'utf8')));
  }

  get manifest(): Manifest {
    return JSON.parse(this.#manifestText) as Manifest;
  }

  manifestText(change: (text: string) => string): void {
    const { digest } = this.#entry;
    const text = change(this.#manifestText);
    const named = this.#put(text);
    this.index((index) => {
      const parsed = JSON.parse(index) as { manifests: object[] };
      return JSON.stringify({
        ...parsed,
        manifests: [{ ...parsed.manifests[0], ...named }, ...parsed.manifests.slice(1)],
      });
    });
    if (named.digest !== digest) rmSync(this.blob(digest));
  }

  changeManifest(change: (manifest: Manifest) => unknown): void {
    this.manifestText((text) => {
      const manifest = JSON.parse(text) as Manifest;
      change(manifest);
      return JSON.stringify(manifest);
    });
  }

  /** Changes what the manifest says of each layer. */
  layers(change: (layer: Layer) => unknown): void {
    this.changeManifest(({ layers }) => layers.forEach(change));
  }

  configText(change: (text: string) => string): void {
    const { digest } = this.manifest.config;
    const named = this.#put(change(readFileSync(this.blob(digest), 'utf8')));
    this.changeManifest(({ config }) => Object.assign(config, named));
    if (named.digest !== digest) rmSync(this.blob(digest));
  }

  config(change: (config: Config) => unknown): void {
    this.configText((text) => {
      const config = JSON.parse(text) as Config;
      change(config);
      return JSON.stringify(config);
    });
  }

  /** The layers' blobs, each once. */
  get blobs(): string[] {
    return [...new Set(this.manifest.layers.map(({ digest }) => this.blob(digest)))];
  }

  /** Writes other bytes into a file. */
  spoil(path: string, change: (bytes: Buffer) => Buffer): void {
    chmodSync(path, 0o644);
    writeFileSync(path, change(readFileSync(path)));
  }

  get manifestPath(): string {
    return this.blob(this.#entry.digest);
  }

  get configPath(): string {
    return this.blob(this.manifest.config.digest);
  }

  get #entry(): { digest: string } {
    const [entry] = (
      JSON.parse(readFileSync(join(this.path, 'index.json'), 'utf8')) as { manifests: [{ digest: string }] }
    ).manifests;
    return entry;
  }

  get #manifestText(): string {
    return readFileSync(this.manifestPath, 'utf8');
  }

  #put(text: string): { digest: string; size: number } {
    const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
    if (!existsSync(this.blob(digest))) writeFileSync(this.blob(digest), text, { mode: 0o444 });
    return { digest, size: Buffer.byteLength(text) };
  }
}

const UNCOMPRESSED = 'containerd.io/uncompressed';
const CREATED_AT = 'buildkit/createdat';
const OTHER = `sha256:${'1'.repeat(64)}`;
const times = (text: string, time: string) => text.replace(/"createdAt":"[^"]*"/, `"createdAt":"${time}"`);
const flipped = (bytes: Buffer) =>
  Buffer.from(bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 0x55 : byte)));

/** FORMATS: what fails, and how far, of caches in folders and registries. */
export const FAULTS: readonly Fault[] = [
  // The import is skipped, or fails.
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
  // In images.
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
