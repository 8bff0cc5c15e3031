import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UNCOMPRESSED, REF_NAME } from '../../../src/oci/descriptor.js';
import { type Digest, sha256 } from '../../../src/oci/digest.js';
import { CACHE_CONFIG, OCI_MANIFEST } from '../../../src/oci/media-types.js';

/** A blob in a folder, as documents name it. */
export interface Blob {
  readonly mediaType: string;
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A record as a cacheconfig has it (cache/remotecache/v1/spec.go). */
export interface WrittenRecord {
  readonly digest: Digest;
  readonly inputs?: readonly (readonly { readonly link: number; readonly selector?: string }[])[];
  readonly layers?: readonly { readonly layer: number; readonly createdAt: string }[];
}

/** A layer of a cacheconfig, and its blob. */
export interface WrittenLayer {
  readonly blob: Blob;
  readonly parent: number;
}

/** Writes a folder of caches by hand: with other means than those that are measured. */
export class FolderMaker {
  readonly #folder: string;
  readonly #entries: Blob[] = [];

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
    writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  }

  blob(mediaType: string, content: string): Blob {
    const digest = sha256(content);
    writeFileSync(join(this.#folder, 'blobs', digest.replace(':', '/')), content, { mode: 0o444 });
    return { mediaType, digest, size: Buffer.byteLength(content) };
  }

  /** A layer of 1 kB, which is no tar: nothing but a build would notice. */
  layer(name: string): Blob {
    const blob = this.blob('application/vnd.oci.image.layer.v1.tar', name.padStart(1000, 'layer '));
    return { ...blob, annotations: { [UNCOMPRESSED]: blob.digest } };
  }

  cache(tag: string, layers: readonly WrittenLayer[], records: readonly WrittenRecord[]): void {
    const config = this.blob(
      CACHE_CONFIG,
      JSON.stringify({ layers: layers.map(({ blob, parent }) => ({ blob: blob.digest, parent })), records }),
    );
    const manifest = this.blob(
      OCI_MANIFEST,
      JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: layers.map(({ blob }) => blob) }),
    );
    this.#entries.push({ ...manifest, annotations: { [REF_NAME]: tag } });
  }

  /** Writes index.json. */
  finish(): void {
    writeFileSync(join(this.#folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: this.#entries }));
  }
}
