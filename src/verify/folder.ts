import { join } from 'node:path';
import type { RepositoryEntry } from '../backend/repository.js';
import { CacheError } from '../errors.js';
import { asideBlobs } from '../layout/aside.js';
import { type BlobEntry, listBlobs } from '../layout/blob-list.js';
import { Distrust } from '../layout/distrust.js';
import { exists } from '../layout/durable.js';
import { keptIndexPath } from '../layout/index-file.js';
import { readIndex } from '../layout/index-read.js';
import { type LayoutIndex, tagOf } from '../layout/index-json.js';
import type { Layout } from '../layout/layout.js';
import { leftovers } from '../layout/leftovers.js';
import { contentOfFile } from '../layout/small-file.js';
import type { Digest } from '../oci/digest.js';
import { markerVersion } from '../oci/marker.js';
import { OCI_INDEX } from '../oci/media-types.js';
import { type Finding, quoted } from './finding.js';
import type { Need, Walk } from './walk.js';

const VERSION = '1.0.0';
const KNOWN_FIELDS = new Set(['schemaVersion', 'mediaType', 'manifests', 'annotations', 'artifactType', 'subject']);
// As long as BuildKit may be at work on one, in milliseconds.
const UNFINISHED = 24 * 3_600_000;

/** What can be said of a folder without reading its blobs. */
export class FolderCheck {
  readonly findings: Finding[] = [];
  /** The blobs that are there, and how large they are, in bytes. */
  readonly present = new Map<Digest, number>();
  readonly #layout: Layout;
  readonly #distrust: Distrust;

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#distrust = new Distrust(layout.root);
  }

  /**
   * Checks oci-layout and index.json.
   *
   * @param instead - what to take where index.json cannot be read
   */
  async entries(instead: LayoutIndex | undefined, signal?: AbortSignal): Promise<readonly RepositoryEntry[]> {
    await this.#marker();
    const file = join(this.#layout.root, 'index.json');
    try {
      const index = await readIndex(this.#layout, signal);
      this.#fields(index, file);
      const entries = entriesOf(index);
      const seen = new Set<string>();
      for (const { tag, descriptor } of entries) {
        if (descriptor.mediaType === '')
          this.#note('layout', 'an entry has no media type', { digest: descriptor.digest, file });
        if (tag === undefined) continue;
        if (seen.has(tag)) this.#note('layout', `the tag ${tag} stands there twice: the first is taken`, { file });
        seen.add(tag);
      }
      return entries;
    } catch (error) {
      if (!(error instanceof CacheError) || (error.code !== 'CORRUPT' && error.code !== 'NOT_FOUND')) throw error;
      // A folder with nothing in it is no cache at all.
      if (error.code === 'NOT_FOUND' && (await listBlobs(this.#layout.root).next()).done === true) throw error;
      this.#corrupt('layout', error.message, { file });
      return instead === undefined ? [] : entriesOf(instead);
    }
  }

  /** Looks for the blobs that are referred to, and for what nobody refers to. */
  async blobs({ needs }: Walk): Promise<void> {
    const { root } = this.#layout;
    const orphans: BlobEntry[] = [];
    const others = new Set<Digest>();
    for await (const entry of listBlobs(root)) {
      const { digest, path, stats } = entry;
      if (digest === undefined) this.#note('unknown', 'a file is not named as a blob', { file: path });
      else if (stats.isFile()) {
        this.present.set(digest, stats.size);
        if (!needs.has(digest)) orphans.push(entry);
      } else {
        others.add(digest);
        const found = stats.isSymbolicLink() ? 'a link, which is not followed' : 'something else';
        const tags = [...(needs.get(digest)?.tags ?? [])];
        const message = 'there is no regular file in the place of a blob';
        this.findings.push({ severity: 'corrupt', kind: 'damaged', message, tags, digest, file: path, found });
      }
    }
    for (const need of needs.values()) if (!others.has(need.descriptor.digest)) this.#need(need);
    const bytes = orphans.reduce((sum, { stats }) => sum + stats.size, 0);
    if (orphans.length > 0) this.#note('unused', `${orphans.length} blobs that nothing refers to, ${bytes} bytes`, {});
    const left = await leftovers(root, Date.now() - UNFINISHED);
    if (left.length > 0) this.#note('unused', `${left.length} unfinished files that dead processes have left`, {});
    const aside = await asideBlobs(root);
    if (aside.length > 0) this.#note('unused', `${aside.length} blobs that gc or repair has set aside`, {});
    const kept = keptIndexPath(this.#layout);
    if (await exists(kept)) {
      const message = 'the index.json from before a repair that did not end';
      this.#note('unused', message, { file: kept, repair: `rm ${quoted(kept)}` });
    }
  }

  /** Writes down, for later writers, which blobs are not to be trusted. */
  async remember(verdicts: readonly { readonly digest: Digest; readonly sound: boolean }[]): Promise<void> {
    const distrusted = await this.#distrust.list();
    for (const { digest, sound } of verdicts) {
      if (!sound) await this.#distrust.add(digest);
      else if (distrusted.has(digest)) await this.#distrust.remove(digest);
    }
    for (const digest of distrusted) if (!this.present.has(digest)) await this.#distrust.remove(digest);
  }

  async #marker(): Promise<void> {
    const file = join(this.#layout.root, 'oci-layout');
    try {
      const bytes = await contentOfFile(file);
      if (bytes === undefined)
        this.#corrupt('layout', 'the folder has no oci-layout file, and other tools want one', { file });
      else if (markerVersion(bytes, file) !== VERSION)
        this.#corrupt('layout', `imageLayoutVersion is not ${VERSION}`, { file });
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
      this.#corrupt('layout', error.message, { file });
    }
  }

  #fields(index: Readonly<Record<string, unknown>>, file: string): void {
    const { schemaVersion, mediaType = OCI_INDEX } = index;
    const wrong = (field: string, expected: string, found: unknown) => {
      this.#note('layout', `index.json has an unusual ${field}`, { file, expected, found: JSON.stringify(found) });
    };
    if (schemaVersion !== 2) wrong('schemaVersion', '2', schemaVersion);
    if (mediaType !== OCI_INDEX) wrong('mediaType', OCI_INDEX, mediaType);
    for (const field of Object.keys(index)) {
      if (!KNOWN_FIELDS.has(field)) this.#note('layout', `index.json has a field ${JSON.stringify(field)}`, { file });
    }
  }

  #need({ descriptor, tags, required }: Need): void {
    const { digest, size } = descriptor;
    const found = this.present.get(digest);
    if (found === size) return;
    const place = { tags: [...tags], digest, file: this.#layout.blobs.path(digest) };
    if (found !== undefined) {
      const sizes = { expected: `${size} bytes`, found: `${found} bytes` };
      this.findings.push({
        severity: 'corrupt',
        kind: 'damaged',
        message: 'a blob has the wrong size',
        ...place,
        ...sizes,
      });
    } else if (required) {
      this.findings.push({ severity: 'corrupt', kind: 'missing', message: 'a blob is missing', ...place });
    } else {
      const message = 'a blob is not here, which is allowed for images and foreign layers';
      this.findings.push({ severity: 'note', kind: 'sparse', message, ...place });
    }
  }

  #note(kind: Finding['kind'], message: string, more: Partial<Finding>): void {
    this.findings.push({ severity: 'note', kind, message, tags: [], ...more });
  }

  #corrupt(kind: Finding['kind'], message: string, more: Partial<Finding>): void {
    this.findings.push({ severity: 'corrupt', kind, message, tags: [], ...more });
  }
}

function entriesOf({ manifests }: LayoutIndex): readonly RepositoryEntry[] {
  return manifests.map((descriptor) => ({ tag: tagOf(descriptor), descriptor }));
}
