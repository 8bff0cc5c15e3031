import * as v from 'valibot';
import { CacheError } from '../../errors.js';
import type { Layout } from '../../layout/layout.js';
import { readDocument } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import { decodeManifest } from '../../oci/manifest.js';
import { MANIFEST_LIMIT } from '../registry/manifests.js';
import type { Referrer } from '../registry/registry-store.js';

/** How many manifests are remembered. */
const REMEMBERED = 20_000;

/** What a list of referrers takes from a manifest. */
interface Reading {
  readonly descriptor: Descriptor;
  readonly subject: Digest | undefined;
  readonly artifactType: string | undefined;
  /** The manifests that an index names. */
  readonly children: readonly Digest[];
}

const subjectSchema = v.object({ digest: v.custom<Digest>(isDigest) });
const annotationsSchema = v.record(v.string(), v.string());

/** Reads manifests for what they say of themselves: their subject and type. They never change, and so it is remembered. */
export class Subjects {
  readonly #layout: Layout;
  readonly #known = new Map<Digest, Reading>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** The descriptor of a manifest; undefined for a blob that is missing, or no manifest. */
  async descriptorOf(digest: Digest): Promise<Descriptor | undefined> {
    return (await this.#read(digest))?.descriptor;
  }

  /** The manifests with this subject, among some entries and what those list. */
  async referrers(entries: readonly Descriptor[], subject: Digest): Promise<readonly Referrer[]> {
    const open = entries.map(({ digest }) => digest);
    const seen = new Set<Digest>();
    const found: Referrer[] = [];
    for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
      if (seen.has(digest)) continue;
      seen.add(digest);
      const reading = await this.#read(digest);
      if (reading === undefined) continue;
      for (const child of reading.children) open.push(child);
      const { descriptor, artifactType } = reading;
      if (reading.subject === subject) found.push({ descriptor, artifactType });
    }
    return found.toSorted((a, b) => (a.descriptor.digest < b.descriptor.digest ? -1 : 1));
  }

  async #read(digest: Digest): Promise<Reading | undefined> {
    const known = this.#known.get(digest);
    if (known !== undefined) return known;
    try {
      const size = await this.#layout.blobs.size(digest);
      if (size === undefined || size > MANIFEST_LIMIT) return undefined;
      const content = this.#layout.blobs.content(digest);
      const reading = readingOf(
        await readDocument(content, digest, this.#layout.root, { limit: MANIFEST_LIMIT }),
        digest,
      );
      if (this.#known.size >= REMEMBERED) this.#known.clear();
      this.#known.set(digest, reading);
      return reading;
    } catch (error) {
      // A layer, or a manifest that is damaged or going: not a manifest that anybody can pull.
      if (error instanceof CacheError) return undefined;
      throw error;
    }
  }
}

function readingOf(bytes: Buffer, digest: Digest): Reading {
  const manifest = decodeManifest(bytes, digest);
  const plain = JSON.parse(JSON.stringify(manifest.fields ?? {})) as Readonly<Record<string, unknown>>;
  const subject = v.safeParse(subjectSchema, plain['subject']);
  const annotations = v.safeParse(annotationsSchema, plain['annotations']);
  const artifactType =
    typeof plain['artifactType'] === 'string' && plain['artifactType'] !== '' ? plain['artifactType'] : undefined;
  const { mediaType } = manifest;
  const more =
    annotations.success && Object.keys(annotations.output).length > 0 ? { annotations: annotations.output } : {};
  return {
    descriptor: { mediaType, digest, size: bytes.length, ...more },
    subject: subject.success ? subject.output.digest : undefined,
    artifactType: artifactType ?? (manifest.kind === 'manifest' ? manifest.config.mediaType : undefined),
    children: manifest.kind === 'index' ? manifest.manifests.map((child) => child.digest) : [],
  };
}
