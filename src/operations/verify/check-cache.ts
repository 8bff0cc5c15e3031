import { type CacheConfig, decodeCacheConfig } from '../../buildkit/cache-config.js';
import { IMPORT_LIMIT } from '../../buildkit/import-limit.js';
import { CacheError } from '../../errors.js';
import { bareLayers } from '../../graph/bare.js';
import { configFaults } from '../../graph/check.js';
import { endsOf } from '../../graph/ends.js';
import { knownOfStacks } from '../../graph/graph.js';
import { isMisspelt } from '../../graph/mend.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { NeedSink } from './need.js';
import type { Origin } from './origin.js';
import { readRectified } from './rectify.js';
import type { Report } from './report.js';

/** Where what is found goes. */
export interface Context {
  readonly report: Report;
  readonly needs: NeedSink;
  /** The manifest that is looked at. */
  readonly origin: Origin;
}

/** A cacheconfig as far as it could be read. */
interface ConfigContent {
  /** In bytes; undefined where it could not be read. */
  readonly size: number | undefined;
  readonly config: CacheConfig | undefined;
  readonly fault: CacheError | undefined;
}

interface CacheContent {
  readonly digest: Digest;
  /** Of the manifest, in bytes; undefined where a copy of it was read. */
  readonly size: number | undefined;
  readonly layers: readonly Descriptor[];
  readonly descriptor: Descriptor;
  readonly config: ConfigContent;
}

export function cacheConfig(bytes: Uint8Array | undefined, { digest }: Descriptor): ConfigContent {
  if (bytes === undefined) return { size: undefined, config: undefined, fault: undefined };
  try {
    const { value, fault } = readRectified(bytes, (document) => decodeCacheConfig(document, digest));
    return { size: bytes.length, config: value, fault };
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return { size: bytes.length, config: undefined, fault: error };
  }
}

/** Says what is wrong with a manifest of a cache, its config, and how the two go together. */
export function checkCache(context: Context, { digest, size, layers: listed, descriptor, config }: CacheContent): void {
  const { needs, origin, report } = context;
  // Of a layer that is listed twice BuildKit takes the last descriptor (cache/remotecache/import.go).
  const layers = [...new Map(listed.map((layer) => [layer.digest, layer])).values()];
  // Foreign layers, too: BuildKit reads them like any others.
  for (const layer of layers) needs.add(layer, 'layer', true, origin);
  needs.add(descriptor, 'config', true, origin);
  checkLimit(context, 'manifest', digest, size);
  // BuildKit goes by the size that the manifest has for a config, too (cache/remotecache/import.go, readBlob).
  checkLimit(context, 'config', descriptor.digest, Math.max(config.size ?? 0, descriptor.size));
  const { fault, config: decoded } = config;
  if (fault !== undefined) {
    const { message } = fault;
    const about = { kind: 'document', effect: 'import-refused', wrong: 'format' } as const;
    report.say({ ...about, message, digest: descriptor.digest }, [origin]);
  }
  if (decoded === undefined) return;
  if (checkRecords(context, decoded, descriptor.digest)) checkResults(context, decoded, layers, descriptor.digest);
}

/**
 * Says what is wrong with a cache without a manifest. It has no limit of its own.
 *
 * @throws CacheError CORRUPT for one that cannot be read, or has a layer without annotations
 */
export function checkBare(context: Context, bytes: Uint8Array, digest: Digest): void {
  const config = decodeCacheConfig(bytes, digest);
  const layers = [...new Map(bareLayers(config, digest).map((layer) => [layer.digest, layer])).values()];
  for (const layer of layers) context.needs.add(layer, 'layer', true, context.origin);
  if (checkRecords(context, config, digest)) checkResults(context, config, layers, digest);
}

function checkLimit({ report, origin }: Context, what: string, digest: Digest, size: number | undefined): void {
  if (size === undefined || size <= IMPORT_LIMIT) return;
  const message = `the ${what} is larger than what BuildKit imports: a build never uses this cache`;
  const sizes = { expected: `${IMPORT_LIMIT} bytes at most`, found: `${size} bytes` };
  report.say({ kind: 'oversize', effect: 'import-refused', wrong: 'limit', message, digest, ...sizes }, [origin]);
}

/**
 * @param hint - what helps, where repair does not
 * @returns whether nothing is wrong with indexes and links
 */
export function checkRecords({ report, origin }: Context, config: CacheConfig, digest: Digest, hint?: string): boolean {
  const faults = configFaults(config);
  for (const message of faults) {
    report.say({ kind: 'graph', effect: 'import-refused', wrong: 'graph', message, digest, hint }, [origin]);
  }
  return faults.length === 0;
}

/** Results that BuildKit drops without a word, since the manifest does not list what they need, and links that it loses. */
function checkResults(
  { report, origin }: Context,
  config: CacheConfig,
  listed: readonly Descriptor[],
  digest: Digest,
): void {
  const blobs = new Set(listed.map((layer) => layer.digest));
  const missingAt = (layer: number) => {
    const blob = config.layers[layer]?.blob;
    return blob === undefined || blobs.has(blob) ? undefined : blob;
  };
  // The lowest missing one of a stack.
  const missingIn = knownOfStacks<Digest | undefined>(config.layers, (layer, below) => below ?? missingAt(layer));
  let isWhole = true;
  for (const [index, record] of config.records.entries()) {
    let missing: Digest | undefined;
    for (const { layer } of record.results) missing = missingIn(layer) ?? missing;
    for (const chain of record.chains) for (const layer of chain.layers) missing = missingAt(layer) ?? missing;
    if (missing === undefined) continue;
    isWhole = false;
    const message = `record ${index} has a result that needs ${missing}, which the manifest does not list`;
    report.say({ kind: 'graph', effect: 'results-vanish', wrong: 'graph', message, digest }, [origin]);
  }
  const misspelt = config.records.filter((record) => isMisspelt(record.digest)).length;
  if (misspelt > 0) {
    const message = `${misspelt} records have a digest in upper case, and no step of a build finds them`;
    report.say({ severity: 'note', kind: 'graph', effect: 'steps-run', wrong: 'digest', message, digest }, [origin]);
  }
  const { length } = endsOf(config.records);
  if (!isWhole || length <= 1) return;
  const message = `a cache has ${length} ends, records that no other links to: with BuildKit 0.25 and later steps can run again`;
  report.say({ severity: 'note', kind: 'ends', effect: 'steps-run', wrong: 'graph', message, digest }, [origin]);
}
