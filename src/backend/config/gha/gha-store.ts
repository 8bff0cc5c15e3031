import { parallel } from '../../../bytes/parallel.js';
import { type CacheOptions, shownOptions } from '../../../buildkit/options.js';
import { CacheError } from '../../../errors.js';
import { type Content, contentOf } from '../../../oci/content.js';
import type { Digest } from '../../../oci/digest.js';
import { type CacheStore, isUnread, type StoredBlob, type StoreEntry } from '../../cache-store.js';
import { type Finding, quoted, type Remedy } from '../../finding.js';
import type { DocumentReader } from '../../repository/repository.js';
import { needsOf } from '../needs-of.js';
import { BLOB_PREFIX, blobIn, ENTRY_VERSION } from './cache-keys.js';
import { cacheName, GhaEntries } from './gha-entries.js';
import { readIndex } from './gha-index.js';
import { CONCURRENCY, type GhaPlace } from './gha-place.js';
import { nameOf } from './gha-settings.js';
import type { GithubRest } from './github-rest.js';
import { LastUse } from './last-use.js';

const LOOKS_AT_ONCE = 16;

/**
 * The caches of a repository in all scopes of GitHub. Entries are listed and deleted by the REST API, and read with the token of
 * a job, which reads some scopes only.
 *
 * @param rest - throws where it is not known how the REST API is reached
 * @param options - those that lead here, for the commands in findings
 */
export function ghaStore(place: GhaPlace, rest: () => GithubRest, options: CacheOptions): CacheStore {
  const name = `gha://${place.settings.url.host}`;
  let opened: GhaEntries | undefined;
  const entries = () => (opened ??= new GhaEntries(place, rest()));
  const kept = new Map<Digest, Content>();
  const reader: DocumentReader = {
    name,
    concurrency: CONCURRENCY,
    manifest: ({ digest }) => kept.get(digest) ?? opened?.document(digest) ?? noDocument(name, digest),
    blob: (blob) => place.blob(blob),
  };
  let lastUse: LastUse | undefined;
  return {
    ...reader,
    readsOnRequest: true,
    hasQuota: true,
    async entries(signal) {
      const found = (await entries().list(signal)).map(({ entry }) => entry);
      lastUse ??= new LastUse(rest(), (list) => needsOf(reader, list, signal));
      lastUse.over(found.flatMap((entry) => (isUnread(entry) ? [] : [entry])));
      return found;
    },
    async selected(signal) {
      const found: StoreEntry[] = [];
      for (const { scope: ref } of place.settings.access.scopes) {
        const index = await readIndex(place, ref, signal);
        if (index === undefined) continue;
        const { descriptor, bytes } = index.document;
        kept.set(descriptor.digest, contentOf(bytes));
        found.push({ names: [cacheName(place.settings.scope, ref, place.settings.access)], descriptor, isBare: true });
      }
      if (found.length > 0) return found;
      throw new CacheError('NOT_FOUND', `there is no cache at ${nameOf(place.settings)}`, {
        hint: 'check scope=; a job reads the caches of its own branch and of the default branch, and no others',
        side: 'import',
      });
    },
    blobs: (signal) => listBlobs(rest(), signal),
    look: (digests, signal) => look(place, digests, signal),
    async writtenAt(entry) {
      const used = await lastUse?.of(entry);
      return Math.max(used ?? 0, entry.modified ?? 0);
    },
    needs: (list, signal) => needsOf(reader, list, signal),
    remedy: (finding) => remedyFor(finding, options),
    change: async (wanted, signal) => {
      const { change } = await import('./gha-changes.js');
      await change(place, rest(), entries(), wanted, signal);
    },
    remove: async (names, signal) => {
      const { removeNames } = await import('./gha-changes.js');
      await removeNames(place, rest(), names, signal);
    },
    gc: async (wanted) => (await import('./gha-gc.js')).gcEntries(rest(), entries(), wanted),
    repair: async () => (await import('./gha-repair.js')).ghaRepair(place, rest(), entries()),
    [Symbol.asyncDispose]: async () => opened?.[Symbol.asyncDispose](),
  };
}

/** The layers of all caches, each once: several scopes may have the same. */
async function* listBlobs(
  rest: GithubRest,
  signal: AbortSignal | undefined,
): AsyncGenerator<StoredBlob, void, undefined> {
  const seen = new Set<Digest>();
  for await (const { entries } of rest.list({ prefix: BLOB_PREFIX }, signal)) {
    for (const { key, version, size, ref } of entries) {
      const digest = version === ENTRY_VERSION ? blobIn(key) : undefined;
      if (digest === undefined || seen.has(digest)) continue;
      seen.add(digest);
      yield { digest, size, at: `${key} of ${ref}` };
    }
  }
}

async function look(
  place: GhaPlace,
  digests: readonly Digest[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<Digest, number>> {
  const found = new Map<Digest, number>();
  await parallel(digests, LOOKS_AT_ONCE, signal, async (digest, inner) => {
    const size = await place.sizeOf(digest, inner);
    if (size !== undefined) found.set(digest, size);
  });
  return found;
}

function noDocument(name: string, digest: Digest): Content {
  return {
    open() {
      throw new CacheError('CORRUPT', `${name}: no index is ${digest}`, { wrong: 'missing' });
    },
  };
}

/** A copy stores what is missing. Entries never change: one that is wrong has to be deleted first, as repair does. */
function remedyFor({ kind, tags: [tag = ''] }: Finding, options: CacheOptions): Remedy {
  const [scope = ''] = tag.split('@');
  const to = shownOptions({ ...options, attributes: { ...options.attributes, ...(scope === '' ? {} : { scope }) } });
  switch (kind) {
    case 'missing':
      return { repair: `bkcache copy --import-cache OPTS --export-cache ${quoted(to)}` };
    case 'damaged':
    case 'ends':
      return { repair: 'bkcache repair type=gha' };
    case 'unused':
      return { repair: 'bkcache gc type=gha' };
    case 'document':
    case 'graph':
      return { hint: 'export the cache again' };
    default:
      return {};
  }
}
