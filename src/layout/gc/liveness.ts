import { CacheError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';
import { indexReading, isWithoutIndex } from '../index/index-read.js';
import type { SettledFile } from '../index/settled.js';
import type { Layout } from '../layout.js';
import type { Flock } from '../lock/flock.js';
import { isLeased } from '../lock/manifest-lease.js';
import { DEFAULT_GRACE } from '../settings.js';
import { LeaseReader } from '../workspace/lease-reader.js';
import { type Marked, Marking } from './mark.js';
import { type UntaggedManifest, untaggedManifests } from './untagged-manifests.js';
import { type TagUsage, usageOf } from './usage.js';
import { isIngesting, type Listed, listedBlobs, newBlobs, writtenAfterwards } from './writers.js';

/** An upper bound for the time from BuildKit's writing of a manifest to its entry in index.json, in milliseconds. */
const UNTIL_TAGGED = 60_000;
/** The largest difference of the clocks of two machines, in milliseconds. */
const SKEW = 60_000;

export interface LivenessOptions {
  /** How long a blob that nothing refers to is kept after its last change, in milliseconds; DEFAULT_GRACE by default. */
  readonly grace?: number | undefined;
  /** Blobs that something referred to until now, and that need no grace therefore. */
  readonly former?: ReadonlySet<Digest>;
  /** For a dry run: index.json as it will be, and the documents that will be written with it. */
  readonly planned?: Planned | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Planned {
  readonly manifests: readonly Descriptor[];
  readonly documents: readonly Document[];
}

/**
 * Which blobs of a layout are live, young or garbage: live is what a tag, a lease or a referrer of a live blob needs;
 * young is any other blob within the grace period, and what a young manifest needs.
 */
export class Liveness {
  readonly now = Date.now();
  /** What was changed before is no longer young; in milliseconds since 1970. */
  readonly cutoff: number;
  readonly live: Marked = new Map();
  readonly leases: LeaseReader;
  readonly #layout: Layout;
  readonly #options: LivenessOptions;
  readonly #marking: Marking;
  /** For manifests that nothing refers to: it does not matter whether they can be read. */
  readonly #unneeded: Marking;
  /** What young manifests need. */
  #sheltered: Marked = new Map();
  #blobs: readonly Listed[] = [];
  #tags: readonly TagUsage[] = [];
  #untagged: readonly UntaggedManifest[] = [];
  #untaggedDigests: ReadonlySet<Digest> = new Set();
  #isBeingWritten = false;
  #indexFile: SettledFile = { bytes: undefined, stamp: undefined };

  constructor(layout: Layout, options: LivenessOptions, tryFlock: Flock) {
    this.cutoff = this.now - (options.grace ?? DEFAULT_GRACE);
    this.leases = new LeaseReader(layout.root, tryFlock);
    this.#layout = layout;
    this.#options = options;
    this.#marking = new Marking(layout.blobs, options.planned?.documents);
    this.#unneeded = new Marking(layout.blobs);
  }

  /** The blobs that were listed. */
  get blobs(): readonly Listed[] {
    return this.#blobs;
  }

  get tags(): readonly TagUsage[] {
    return this.#tags;
  }

  /** index.json as it was when it was last marked. */
  get indexFile(): SettledFile {
    return this.#indexFile;
  }

  /** Whether a build may be writing here: builds have no leases. */
  get isBeingWritten(): boolean {
    return this.#isBeingWritten;
  }

  /** The manifests among the blobs that no tag needs. */
  get untagged(): ReadonlySet<Digest> {
    return this.#untaggedDigests;
  }

  /**
   * Lists the blobs, and marks those that are live.
   *
   * @throws CacheError CORRUPT when a manifest cannot be read, so that it is not known what it needs; NOT_FOUND, BUSY
   */
  async look(): Promise<void> {
    const { planned, signal } = this.#options;
    const manifests = planned?.manifests ?? (await this.#readIndex());
    await this.#keep(manifests);
    this.#blobs = withUnwritten(this.#layout, await listedBlobs(this.#layout.root), planned?.documents ?? [], this.now);
    const sizes = new Map(this.#blobs.map(({ digest, size }) => [digest, size]));
    this.#tags = await usageOf(manifests, this.#marking, sizes, signal);
    await this.#lookAtUntagged();
  }

  /** Marks what index.json needs now, and what was leased meanwhile. */
  async lookAgain(): Promise<void> {
    await this.#keep(await this.#readIndex());
  }

  /** Marks some blobs, and what they need. */
  async keep(digests: readonly Digest[]): Promise<void> {
    await this.#keep([], digests);
  }

  /** Finds out whether a writer has come, or has written its first blob, since `look`. */
  async lookForWriters(): Promise<void> {
    if (this.#isBeingWritten) return;
    const { root } = this.#layout;
    const fresh = await newBlobs(root, this.cutoff, this.#blobs);
    this.#isBeingWritten = fresh.some(({ digest }) => !this.live.has(digest)) || (await isIngesting(root, this.cutoff));
  }

  /** The blobs that are not live. */
  unneeded(): Listed[] {
    return this.#blobs.filter(({ digest }) => !this.live.has(digest));
  }

  /** The blobs that are neither live nor young. */
  garbage(): Listed[] {
    return this.unneeded().filter((blob) => this.isGarbage(blob));
  }

  /** Whether a blob that is not live is not young either. */
  isGarbage(blob: Listed): boolean {
    return this.#isOld(blob) && !this.#sheltered.has(blob.digest);
  }

  /** Whether the grace period is over for something of this time. Without one, times in the future mean nothing. */
  isOver(time: number): boolean {
    return time <= this.cutoff || (this.#options.grace === 0 && time > this.now + SKEW);
  }

  /** Garbage in such an order that a manifest comes before what it names. */
  async manifestsFirst(garbage: readonly Listed[]): Promise<readonly Listed[]> {
    const manifests = this.untagged;
    const sizes = new Map<Digest, number>();
    // A manifest reaches more than another one that it names.
    for (const { digest } of garbage) if (manifests.has(digest)) sizes.set(digest, (await this.#below([digest])).size);
    return garbage.toSorted((a, b) => (sizes.get(b.digest) ?? 0) - (sizes.get(a.digest) ?? 0));
  }

  async #readIndex(): Promise<readonly Descriptor[]> {
    try {
      const { file, index } = await indexReading(this.#layout, this.#options.signal);
      this.#indexFile = file;
      return index.manifests;
    } catch (error) {
      if (!(await isWithoutIndex(this.#layout, error))) throw error;
      this.#indexFile = { bytes: undefined, stamp: undefined };
      return this.#allManifests();
    }
  }

  /** Without an index.json the manifests may be all that is left of its caches; repair tags them. */
  async #allManifests(): Promise<readonly Descriptor[]> {
    const blobs = await listedBlobs(this.#layout.root);
    const sizes = new Map(blobs.map(({ digest, size }) => [digest, size]));
    const manifests = await untaggedManifests(this.#layout.blobs, blobs, this.#options.signal);
    return manifests.map(({ digest }) => ({ mediaType: '', digest, size: sizes.get(digest) ?? 0 }));
  }

  /** Marks what an index needs, what some blobs need, and what is leased. */
  async #keep(manifests: readonly Descriptor[], needed: readonly Digest[] = []): Promise<void> {
    await this.#marking.mark(manifests, this.live, { signal: this.#options.signal });
    await this.#keepAll([...needed, ...this.leases.added(), ...(await this.#leasedManifests())]);
    const [obstacle] = this.#marking.obstacles;
    if (obstacle === undefined) return;
    const { message } = obstacle.error;
    throw new CacheError('CORRUPT', `nothing was deleted, since it is not known what is needed: ${message}`, {
      hint: '"bkcache verify" says what is wrong, and "bkcache repair" mends it',
      cause: obstacle.error,
    });
  }

  async #keepAll(digests: readonly Digest[]): Promise<void> {
    await this.#markAll(this.#marking, digests, this.live);
  }

  /** What some blobs need, themselves included, as far as they can be read. */
  async #below(digests: readonly Digest[]): Promise<Marked> {
    const marked: Marked = new Map();
    await this.#markAll(this.#unneeded, digests, marked);
    return marked;
  }

  async #markAll(marking: Marking, digests: readonly Digest[], marked: Marked): Promise<void> {
    const roots = digests.map((digest) => ({ digest }));
    await marking.mark(roots, marked, { document: 'unknown', signal: this.#options.signal });
  }

  /** The untagged manifests that a reader has leased. */
  async #leasedManifests(): Promise<Digest[]> {
    const leased: Digest[] = [];
    for (const { digest } of this.#untagged) {
      if (!this.live.has(digest) && (await isLeased(this.#layout.blobs.path(digest)))) leased.push(digest);
    }
    return leased;
  }

  /** Marks the referrers of live blobs, and finds out whether the other young blobs belong to finished exports. */
  async #lookAtUntagged(): Promise<void> {
    this.#untagged = await untaggedManifests(this.#layout.blobs, this.unneeded(), this.#options.signal);
    this.#untaggedDigests = new Set(this.#untagged.map(({ digest }) => digest));
    await this.#keepAll(await this.#leasedManifests());
    await this.#keepReferrers();
    const untagged = this.untagged;
    const manifests = this.unneeded().filter(({ digest }) => untagged.has(digest));
    const wereTagged = manifests.filter(({ time }) => time < this.now - UNTIL_TAGGED);
    const finished = await this.#below(wereTagged.map(({ digest }) => digest));
    const unfinished = this.unneeded().filter((blob) => !this.#isOld(blob) && !finished.has(blob.digest));
    const former = this.unneeded().filter(({ digest }) => this.#options.former?.has(digest) === true);
    const later = writtenAfterwards(former, untagged, { cutoff: this.cutoff, slack: UNTIL_TAGGED });
    this.#isBeingWritten = unfinished.length + later.length > 0 || (await isIngesting(this.#layout.root, this.cutoff));
    const young = manifests.filter((blob) => !this.#isOld(blob));
    this.#sheltered = await this.#below(young.map(({ digest }) => digest));
  }

  /** Referrers can have referrers. */
  async #keepReferrers(): Promise<void> {
    const referrers = new Map<Digest, Digest[]>();
    for (const { subject, digest } of this.#untagged) {
      if (subject === undefined) continue;
      const known = referrers.get(subject);
      if (known === undefined) referrers.set(subject, [digest]);
      else known.push(digest);
    }
    // The walk of a map reaches what is added during the walk.
    for (const subject of referrers.size === 0 ? [] : this.live.keys()) {
      const found = referrers.get(subject)?.filter((digest) => !this.live.has(digest));
      if (found !== undefined && found.length > 0) await this.#keepAll(found);
    }
  }

  #isOld({ digest, time }: Listed): boolean {
    return this.isOver(time) || this.#options.former?.has(digest) === true;
  }
}

/** Blobs as they will be once some documents are written. */
function withUnwritten(
  layout: Layout,
  blobs: readonly Listed[],
  documents: readonly Document[],
  time: number,
): readonly Listed[] {
  const known = new Set(blobs.map(({ digest }) => digest));
  const unwritten = documents
    .filter(({ descriptor: { digest } }) => !known.has(digest))
    .map(({ descriptor: { digest, size } }) => ({ digest, path: layout.blobs.path(digest), size, inode: 0, time }));
  return [...blobs, ...unwritten];
}
