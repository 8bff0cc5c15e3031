import type { Layout } from '../../layout/layout.js';
import type { Digest } from '../../oci/digest.js';
import type { Lease } from '../../layout/workspace/lease.js';

/** How long leases are added to one generation, and how many generations there are: a blob is kept for 20 to 30 minutes. */
const LIFETIME = 10 * 60_000;
const GENERATIONS = 3;

interface Generation {
  readonly lease: Lease;
  /** The repositories in which a blob was used. */
  readonly blobs: Map<Digest, Set<string>>;
  /** In milliseconds since 1970. */
  readonly since: number;
}

/**
 * The blobs that clients have used lately: pushed, or found before the push of a manifest, or pulled. gc keeps them, since
 * the next request of a client relies on the last one. Leases end by time, so that a server that runs for months has few.
 */
export class RecentBlobs {
  readonly #layout: Layout;
  #generations: Generation[] = [];

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Keeps a blob for a while. To be called before it is looked whether the blob exists. */
  async keep(repository: string, digest: Digest, now = Date.now()): Promise<void> {
    const { lease, blobs } = this.#current(now);
    await lease.add([digest]);
    blobs.set(digest, (blobs.get(digest) ?? new Set()).add(repository));
  }

  /** Whether a blob was used lately in a repository of these. */
  has(digest: Digest, isMeant: (repository: string) => boolean): boolean {
    return this.#generations.some(({ blobs }) => [...(blobs.get(digest) ?? [])].some(isMeant));
  }

  /** Forgets the use of a blob in a repository. */
  forget(repository: string, digest: Digest): void {
    for (const { blobs } of this.#generations) blobs.get(digest)?.delete(repository);
  }

  /** Ends the leases that have lasted long enough. */
  async expire(now = Date.now()): Promise<void> {
    const cutoff = now - GENERATIONS * LIFETIME;
    const old = this.#generations.filter(({ since }) => since <= cutoff);
    this.#generations = this.#generations.filter(({ since }) => since > cutoff);
    for (const { lease } of old) await lease[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = this.#generations.splice(0);
    for (const { lease } of all) await lease[Symbol.asyncDispose]();
  }

  #current(now: number): Generation {
    const last = this.#generations.at(-1);
    if (last !== undefined && now - last.since < LIFETIME) return last;
    const fresh = { lease: this.#layout.workspace.lease(), blobs: new Map<Digest, Set<string>>(), since: now };
    this.#generations.push(fresh);
    return fresh;
  }
}
