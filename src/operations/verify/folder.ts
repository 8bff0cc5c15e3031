import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RepositoryEntry } from '../../backend/repository/repository.js';
import { CacheError, type Wrong } from '../../errors.js';
import { quarantinedBlobs } from '../../layout/gc/quarantine.js';
import { type BlobEntry, listBlobs } from '../../layout/blobs/blob-list.js';
import { KnownDamaged } from '../../layout/blobs/known-damaged.js';
import { exists } from '../../layout/files/durable.js';
import { keptIndexPath } from '../../layout/index/index-file.js';
import { readIndex } from '../../layout/index/index-read.js';
import { type LayoutIndex, tagOf } from '../../layout/index/index-json.js';
import type { Layout } from '../../layout/layout.js';
import { leftovers } from '../../layout/gc/leftovers.js';
import { contentOfFile } from '../../layout/files/small-file.js';
import { untaggedManifests } from '../../layout/gc/untagged-manifests.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { markerVersion } from '../../oci/marker.js';
import { OCI_INDEX } from '../../oci/media-types.js';
import { type Effect, type Finding, quoted } from './finding.js';
import { effectOf, type Need, originsOf } from './need.js';
import { Report } from './report.js';
import type { Walk } from './walk.js';

const VERSION = '1.0.0';
const KNOWN_FIELDS = new Set(['schemaVersion', 'mediaType', 'manifests', 'annotations', 'artifactType', 'subject']);
// As long as BuildKit may be at work on one, in milliseconds.
const UNFINISHED = 24 * 3_600_000;

/** How often oci-layout has to be read the same before it counts as wrong, and how long to wait between, in milliseconds. */
const TORN_READINGS = 4;
const TORN_PAUSE = 25;
const MISSING_MANIFEST = 'the manifest that a tag names is missing';
const SEVERAL_EXPORTS =
  'a build with several exports to local or registry writes the name of the last one into every folder: export to one place in a build, and let "bkcache copy" bring the cache to the others';

/** What can be said of a folder without reading its blobs. */
export class FolderCheck {
  /** The blobs that are there, and how large they are, in bytes. */
  readonly present = new Map<Digest, number>();
  readonly #report = new Report();
  readonly #layout: Layout;
  readonly #knownDamaged: KnownDamaged;

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#knownDamaged = new KnownDamaged(layout.root);
  }

  get findings(): Finding[] {
    return this.#report.findings();
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
      // A folder that has no blobs/ is no cache at all.
      if (error.code === 'NOT_FOUND' && !(await exists(join(this.#layout.root, 'blobs')))) throw error;
      if (instead === undefined && error.code === 'NOT_FOUND' && !(await this.#hasManifests(signal))) {
        this.#note('layout', 'there is no index.json: a first export was cut short, and nothing is tagged', {
          file,
          repair: `bkcache gc ${quoted(this.#layout.root)}`,
        });
        return [];
      }
      this.#layoutFault(error.message, 'import-refused', {
        file,
        wrong: error.code === 'NOT_FOUND' ? 'missing' : 'format',
      });
      return instead === undefined ? [] : entriesOf(instead);
    }
  }

  /** Whether there are manifests whose entries in index.json may have been lost. */
  async #hasManifests(signal: AbortSignal | undefined): Promise<boolean> {
    const files: BlobId[] = [];
    for await (const { digest, stats } of listBlobs(this.#layout.root))
      if (digest !== undefined && stats.isFile()) files.push({ digest, size: stats.size });
    return (await untaggedManifests(this.#layout.blobs, files, signal)).length > 0;
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
        const message = 'there is no regular file in the place of a blob';
        const need = needs.get(digest);
        const about = {
          kind: 'damaged',
          effect: effectOf(need),
          wrong: 'notAFile',
          message,
          digest,
          file: path,
        } as const;
        this.#report.say({ ...about, found }, need === undefined ? [] : originsOf(need));
      }
    }
    for (const need of needs.values())
      if (!others.has(need.digest) && !this.present.has(need.digest)) this.#missing(need);
    const bytes = orphans.reduce((sum, { stats }) => sum + stats.size, 0);
    if (orphans.length > 0) this.#note('unused', `${orphans.length} blobs that nothing refers to, ${bytes} bytes`, {});
    const left = await leftovers(root, Date.now() - UNFINISHED);
    if (left.length > 0) this.#note('unused', `${left.length} unfinished files that dead processes have left`, {});
    const quarantined = await quarantinedBlobs(root);
    if (quarantined.length > 0) this.#note('unused', `${quarantined.length} blobs in quarantine, of gc or repair`, {});
    const kept = keptIndexPath(this.#layout);
    if (await exists(kept)) {
      const message = 'the index.json from before a repair that did not end';
      this.#note('unused', message, { file: kept, repair: `rm ${quoted(kept)}` });
    }
  }

  /** Writes down, for later writers, which blobs are not to be trusted. */
  async remember(verdicts: readonly { readonly digest: Digest; readonly sound: boolean }[]): Promise<void> {
    const damaged = await this.#knownDamaged.list();
    for (const { digest, sound } of verdicts) {
      if (!sound) await this.#knownDamaged.add(digest);
      else if (damaged.has(digest)) await this.#knownDamaged.remove(digest);
    }
    for (const digest of damaged) if (!this.present.has(digest)) await this.#knownDamaged.remove(digest);
  }

  /** BuildKit does not read oci-layout, and other tools refuse a folder without it. */
  async #marker(): Promise<void> {
    const file = join(this.#layout.root, 'oci-layout');
    const fault = await settledFault(() => markerFault(file));
    if (fault !== undefined) this.#layoutFault(fault.message, 'none', { file, wrong: fault.wrong });
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

  #missing(need: Need): void {
    const { digest, statements } = need;
    const file = this.#layout.blobs.path(digest);
    const required = statements.filter((statement) => statement.required);
    if (required.length === 0) {
      const message = 'a blob is not here, which is allowed for images without a cache';
      this.#report.say({ severity: 'note', kind: 'sparse', message, digest, file }, originsOf(need));
      return;
    }
    const about = { kind: 'missing', effect: effectOf({ digest, statements: required }), wrong: 'missing' } as const;
    const origins = originsOf({ digest, statements: required });
    const isEntry = required.some(({ role, origins: by }) => role === 'manifest' && by.some(({ name }) => name));
    if (isEntry)
      this.#report.say({ ...about, message: MISSING_MANIFEST, digest, file, hint: SEVERAL_EXPORTS }, origins);
    else this.#report.say({ ...about, message: 'a blob is missing', digest, file }, origins);
  }

  #note(kind: Finding['kind'], message: string, more: Partial<Finding>): void {
    this.#report.say({ severity: 'note', kind, message, ...more });
  }

  #layoutFault(message: string, effect: Effect, more: Partial<Finding>): void {
    this.#report.say({ kind: 'layout', effect, message, ...more });
  }
}

interface MarkerFault {
  readonly message: string;
  readonly wrong: Wrong;
  /** What was read. */
  readonly bytes: Buffer | undefined;
}

async function markerFault(file: string): Promise<MarkerFault | undefined> {
  const bytes = await contentOfFile(file);
  if (bytes === undefined) {
    return { message: 'the folder has no oci-layout file, and other tools want one', wrong: 'missing', bytes };
  }
  try {
    if (markerVersion(bytes, file) === VERSION) return undefined;
    return { message: `imageLayoutVersion is not ${VERSION}`, wrong: 'format', bytes };
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return { message: error.message, wrong: 'format', bytes };
  }
}

/**
 * A fault that is there for some time. BuildKit empties and writes oci-layout in place at the end of each export
 * (client/ociindex/ociindex.go), so that a reader can see it empty or half.
 */
async function settledFault(look: () => Promise<MarkerFault | undefined>): Promise<MarkerFault | undefined> {
  let fault = await look();
  for (let same = 1; fault !== undefined && same < TORN_READINGS;) {
    await sleep(TORN_PAUSE);
    const next = await look();
    same = next !== undefined && isSame(next.bytes, fault.bytes) ? same + 1 : 1;
    fault = next;
  }
  return fault;
}

function isSame(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

function entriesOf({ manifests }: LayoutIndex): readonly RepositoryEntry[] {
  return manifests.map((descriptor) => ({ tag: tagOf(descriptor), descriptor }));
}
