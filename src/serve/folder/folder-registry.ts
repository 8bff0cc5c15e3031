import { KnownDamaged } from '../../layout/blobs/known-damaged.js';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { updateIndex } from '../../layout/index/index-file.js';
import { lastUsed, isStore, recordUse, usedNow } from '../../layout/index/last-used.js';
import type { LayoutIndex } from '../../layout/index/index-json.js';
import type { Layout } from '../../layout/layout.js';
import { contentOf } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';
import { DOCKER_MANIFEST_LIST, OCI_INDEX } from '../../oci/media-types.js';
import type { Access } from '../access.js';
import type { OpenContent } from '../content-answer.js';
import { nameOf } from '../registry/names.js';
import type {
  BlobUpload,
  PublishOptions,
  Reference,
  Referrer,
  RegistryStore,
  RegistryWriter,
  Removal,
} from '../registry/registry-store.js';
import { FileUpload, refuseFullDisk, type SpaceLimits } from './blob-upload.js';
import { withManifest, withoutManifest, withoutTagName } from './index-change.js';
import { Contents } from './contents.js';
import { IndexReader, type Repositories, type RepositoryView, repositoriesIn } from './index-view.js';
import { openBlob } from './open-blob.js';
import { RecentBlobs } from './recent.js';
import { Subjects } from './subjects.js';

/** More frequent uses of a tag are not recorded; in milliseconds. */
const USE_PRECISION = 10 * 60_000;

/** A folder of caches as a registry serves it. The layout stays open. */
export class FolderRegistry implements RegistryStore, AsyncDisposable {
  readonly writer: RegistryWriter | undefined;
  readonly #layout: Layout;
  readonly #index: IndexReader<Repositories>;
  readonly #contents: Contents;
  readonly #subjects: Subjects;
  readonly #damaged: KnownDamaged;
  readonly #recent: RecentBlobs | undefined;
  /** Uses that are being recorded. */
  readonly #recording = new Set<Promise<void>>();

  /** @param limits - left out for a folder that is served read-only: nothing is written to it then */
  constructor(layout: Layout, limits?: SpaceLimits) {
    this.#layout = layout;
    this.#index = new IndexReader(layout, repositoriesIn);
    this.#contents = new Contents(layout);
    this.#subjects = new Subjects(layout);
    this.#damaged = new KnownDamaged(layout.root);
    if (limits === undefined) return;
    this.#recent = new RecentBlobs(layout);
    this.writer = new FolderWriter(layout, limits, {
      recent: this.#recent,
      contents: this.#contents,
      index: this.#index,
    });
  }

  async tags(repository: string): Promise<readonly string[] | undefined> {
    const view = await this.#view(repository);
    return view && [...view.tags.keys()].toSorted();
  }

  async find(repository: string, reference: Reference): Promise<Descriptor | undefined> {
    const view = await this.#view(repository);
    if ('tag' in reference) return view?.tags.get(reference.tag);
    const { digest } = reference;
    const entry = [...(view?.entries ?? [])].find((one) => one.digest === digest);
    if (entry !== undefined) return entry;
    const isRecent = this.#recent?.has(digest, (one) => one === repository) === true;
    if (!isRecent && !(await indexNames(this.#contents, view, digest))) return undefined;
    return this.#subjects.descriptorOf(digest);
  }

  async size(digest: Digest): Promise<number | undefined> {
    const size = await this.#layout.blobs.size(digest);
    return size === undefined || (await this.#damaged.has(digest)) ? undefined : size;
  }

  async open(digest: Digest): Promise<OpenContent | undefined> {
    return (await this.#damaged.has(digest)) ? undefined : openBlob(this.#layout, digest);
  }

  async unseen(access: Access, digests: readonly Digest[]): Promise<readonly Digest[]> {
    if (access.readsAll) return [];
    const isMeant = (repository: string) => access.mayRead(repository);
    const unseen = new Set(digests.filter((digest) => this.#recent?.has(digest, isMeant) !== true));
    for (const [repository, { entries }] of await this.#index.read()) {
      if (!isMeant(repository)) continue;
      for (const entry of entries) {
        if (unseen.size === 0) return [];
        const found = await this.#contents.of(entry.digest);
        for (const digest of unseen) if (found.has(digest)) unseen.delete(digest);
      }
    }
    return [...unseen];
  }

  async contentsOf(digest: Digest): Promise<ReadonlySet<Digest>> {
    return this.#contents.of(digest);
  }

  async referrers(repository: string, subject: Digest): Promise<readonly Referrer[]> {
    return this.#subjects.referrers([...((await this.#view(repository))?.entries ?? [])], subject);
  }

  async pulled(repository: string, descriptor: Descriptor, reference: Reference): Promise<void> {
    if (this.#recent === undefined) return;
    await this.#recent.keep(repository, descriptor.digest);
    if (!('tag' in reference) || Date.now() - (lastUsed(descriptor) ?? 0) < USE_PRECISION) return;
    const name = nameOf({ repository, tag: reference.tag });
    const recording = recordUse(this.#layout, descriptor, name)
      // It is a help for prune, and no more.
      .catch(() => undefined)
      .finally(() => this.#recording.delete(recording));
    this.#recording.add(recording);
  }

  /** Ends leases that have lasted long enough. */
  async expire(): Promise<void> {
    await this.#recent?.expire();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#recording);
    await this.#recent?.[Symbol.asyncDispose]();
  }

  async #view(repository: string): Promise<RepositoryView | undefined> {
    return (await this.#index.read()).get(repository);
  }
}

/** Whether an index in a repository names a manifest, directly or through another index. */
async function indexNames(contents: Contents, view: RepositoryView | undefined, digest: Digest): Promise<boolean> {
  for (const { digest: top, mediaType } of view?.entries ?? []) {
    const isIndex = mediaType === OCI_INDEX || mediaType === DOCKER_MANIFEST_LIST || mediaType === '';
    if (isIndex && top !== digest && (await contents.of(top)).has(digest)) return true;
  }
  return false;
}

class FolderWriter implements RegistryWriter {
  readonly #layout: Layout;
  readonly #limits: SpaceLimits;
  readonly #recent: RecentBlobs;
  readonly #contents: Contents;
  readonly #index: IndexReader<Repositories>;

  constructor(
    layout: Layout,
    limits: SpaceLimits,
    {
      recent,
      contents,
      index,
    }: { readonly recent: RecentBlobs; readonly contents: Contents; readonly index: IndexReader<Repositories> },
  ) {
    this.#layout = layout;
    this.#limits = limits;
    this.#recent = recent;
    this.#contents = contents;
    this.#index = index;
  }

  begin(algorithm: string, size: number | undefined): Promise<BlobUpload> {
    return FileUpload.begin(this.#layout, this.#limits, { algorithm, size });
  }

  async keep(repository: string, digest: Digest): Promise<void> {
    await this.#recent.keep(repository, digest);
  }

  async publish(
    repository: string,
    { descriptor, bytes }: Document,
    { tags, needs, check }: PublishOptions,
  ): Promise<readonly Digest[]> {
    await refuseFullDisk(this.#layout.root, this.#limits, bytes.length);
    await using leased = new LeasedBlobs(this.#layout);
    await leased.lease.add([descriptor, ...needs].map(({ digest }) => digest));
    const missing: Digest[] = [];
    for (const blob of needs) if (!(await leased.has(blob))) missing.push(blob.digest);
    if (missing.length > 0) return missing;
    // In this order they survive a power cut: what a manifest names, the manifest, and then what names that.
    await leased.sync();
    if (!(await leased.has(descriptor))) {
      await leased.write(contentOf(bytes), descriptor, { where: 'the manifest', sharing: 'copy' });
    }
    await leased.sync();
    const entry = (await isStore(this.#layout.root)) ? usedNow(descriptor) : descriptor;
    const named = new Set(needs.map(({ digest }) => digest));
    const change = (index: LayoutIndex) => {
      check(currentOf(index, repository, tags[0], descriptor.digest));
      return withManifest(index, repository, entry, { tags, named });
    };
    await updateIndex(this.#layout, change, { leased });
    await this.#recent.keep(repository, descriptor.digest);
    return [];
  }

  async remove(repository: string, reference: Reference): Promise<Removal> {
    return 'tag' in reference
      ? this.#removeTag(repository, reference.tag)
      : this.#removeManifest(repository, reference.digest);
  }

  async #removeTag(repository: string, tag: string): Promise<Removal> {
    const untagged: Digest[] = [];
    await updateIndex(this.#layout, (index) => {
      const entry = repositoriesIn(index).get(repository)?.tags.get(tag);
      untagged.splice(0, 1, ...(entry === undefined ? [] : [entry.digest]));
      return withoutTagName(index, repository, tag);
    });
    // A client may be pulling it by its digest.
    for (const digest of untagged) await this.#recent.keep(repository, digest);
    return untagged.length > 0 ? 'removed' : 'unknown';
  }

  async #removeManifest(repository: string, digest: Digest): Promise<Removal> {
    if (await indexNames(this.#contents, (await this.#index.read()).get(repository), digest)) return 'needed';
    const isRecent = this.#recent.has(digest, (one) => one === repository);
    const changed: boolean[] = [];
    await updateIndex(this.#layout, (index) => {
      const left = withoutManifest(index, repository, digest);
      changed.splice(0, 1, left !== index);
      return left;
    });
    this.#recent.forget(repository, digest);
    return isRecent || changed.includes(true) ? 'removed' : 'unknown';
  }
}

function currentOf(
  index: LayoutIndex,
  repository: string,
  tag: string | undefined,
  digest: Digest,
): Descriptor | undefined {
  const view = repositoriesIn(index).get(repository);
  return tag === undefined ? [...(view?.entries ?? [])].find((one) => one.digest === digest) : view?.tags.get(tag);
}
