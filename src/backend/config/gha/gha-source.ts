import { parallel } from '../../../bytes/parallel.js';
import { CacheError } from '../../../errors.js';
import { loadBare } from '../../../graph/bare.js';
import { evict } from '../../../graph/evict.js';
import { blobsOf } from '../../../graph/graph.js';
import { dropUnusedLayers } from '../../../graph/keep.js';
import type { Cache, CacheSource } from '../../backend.js';
import { descriptorOfCache } from '../descriptor-of-cache.js';
import { listIndexes } from './gha-entries.js';
import { type FoundIndex, readIndex } from './gha-index.js';
import { CONCURRENCY, type GhaPlace } from './gha-place.js';
import { nameOf } from './gha-settings.js';
import type { GithubRest } from './github-rest.js';

/** How many names a message shows. */
const NAMES_SHOWN = 20;
const NOT_THERE = 'check scope=; a job reads the caches of its own branch and of the default branch, and no others';

/**
 * The cache of one name in all scopes that a token reads, as one: those of its own branch and of the default branch. A scope
 * without it counts as empty: cache/remotecache/gha/gha.go, Resolve.
 */
export function ghaSource(place: GhaPlace, rest: GithubRest | undefined): CacheSource {
  let opened: Promise<readonly Cache[]> | undefined;
  // A build may write a new index meanwhile: one reader sees one cache.
  const open = (signal?: AbortSignal) => (opened ??= openAll(place, rest, signal));
  return {
    name: nameOf(place.settings),
    resolve: async (signal) => descriptorOfCache(await merged(await open(signal), signal)),
    load: async (signal) => merged(await open(signal), signal),
    async lease(signal) {
      const caches = await open(signal);
      const whole = await Promise.all(caches.map((cache) => withoutEvicted(place, cache, signal)));
      return merged(whole, signal);
    },
  };
}

async function openAll(
  place: GhaPlace,
  rest: GithubRest | undefined,
  signal: AbortSignal | undefined,
): Promise<readonly Cache[]> {
  const { access } = place.settings;
  const refs = [...new Set(access.scopes.map(({ scope }) => scope))];
  const found: (Cache | undefined)[] = refs.map(() => undefined);
  await parallel([...refs.entries()], CONCURRENCY, signal, async ([index, ref], inner) => {
    const read = await readIndex(place, ref, inner);
    if (read === undefined) return;
    if (read.isSigned) place.note(`${read.entry.key} is a signed cache, and its signature is not checked`);
    found[index] = cacheOf(place, ref, read);
  });
  const caches = found.filter((cache) => cache !== undefined);
  if (caches.length > 0) return caches;
  const where = refs.length === 0 ? 'and the token names no scope' : `in ${refs.join(' or ')}`;
  throw new CacheError('NOT_FOUND', `there is no cache at ${nameOf(place.settings)}, ${where}`, {
    hint: (rest && (await namesHint(place, rest, signal))) ?? NOT_THERE,
    side: 'import',
  });
}

/** The caches there are, in all scopes; undefined where the listing fails. */
async function namesHint(
  { settings }: GhaPlace,
  rest: GithubRest,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  try {
    const names = (await listIndexes(rest, settings.access, signal)).map(({ name }) => name);
    const more = names.length > NAMES_SHOWN ? `, and ${names.length - NAMES_SHOWN} more` : '';
    if (names.length === 0) return 'the repository has no cache of BuildKit';
    return `the caches there are: ${names.slice(0, NAMES_SHOWN).join(', ')}${more}`;
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return undefined;
  }
}

function cacheOf(place: GhaPlace, ref: string, { entry, document }: FoundIndex): Cache {
  return {
    name: `${nameOf(place.settings)} of ${ref}`,
    concurrency: CONCURRENCY,
    graph: loadBare(document.bytes, entry.key),
    saved: { documents: [document], shape: undefined },
    blob: (blob) => place.blob(blob),
  };
}

/** GitHub evicts entries one by one: results whose layers are gone are no part of the cache any more, as for BuildKit. */
async function withoutEvicted(place: GhaPlace, cache: Cache, signal: AbortSignal | undefined): Promise<Cache> {
  const blobs = blobsOf(cache.graph).map(({ digest }) => digest);
  const present = await place.look(blobs, signal);
  const gone = new Set(blobs.filter((digest) => !present.has(digest)));
  if (gone.size === 0) return cache;
  place.note(`${cache.name}: ${gone.size} of ${blobs.length} layers are gone, and the results that need them stay out`);
  const { saved: _, ...rest } = cache;
  return { ...rest, graph: dropUnusedLayers(evict(cache.graph, gone)) };
}

async function merged(caches: readonly Cache[], signal: AbortSignal | undefined): Promise<Cache> {
  const [only, ...others] = caches;
  if (only !== undefined && others.length === 0) return only;
  const { mergeCaches } = await import('../../merge-caches.js');
  return mergeCaches(caches, signal);
}
