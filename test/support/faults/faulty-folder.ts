import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { blobPath } from '../folders.js';
import { digestOfBytes } from '../layers.js';

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
    return blobPath(this.path, digest);
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
    const digest = digestOfBytes(Buffer.from(text));
    if (!existsSync(this.blob(digest))) writeFileSync(this.blob(digest), text, { mode: 0o444 });
    return { digest, size: Buffer.byteLength(text) };
  }
}
