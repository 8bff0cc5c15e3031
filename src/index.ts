export type { Cache, ImageFit } from './backend/backend.js';
export type { CacheConfig, CacheRecord, Chain, ConfigLayer, Link, Result } from './buildkit/cache-config.js';
export {
  type CacheOptions,
  type CacheType,
  formatOptions,
  type OnNote,
  parseExport,
  parseImport,
} from './buildkit/options.js';
export type { Compression } from './codec/compression.js';
export { type CopyOptions, type CopyResult, copyCache, type ExportResult } from './operations/copy/copy.js';
export { type Amount, collectGarbage, type GcResult, type GarbageOptions, type TagUsage } from './operations/gc.js';
export { CacheError, type ErrorCode, type PlainCacheError, type Side, type Wrong } from './errors.js';
export type { Graph, Layer } from './graph/graph.js';
export type { Shape } from './graph/save.js';
export type { RegistryAccess, RegistryUser, SessionOptions } from './session.js';
export type { Descriptor } from './oci/descriptor.js';
export type { Digest } from './oci/digest.js';
export {
  type CacheDescription,
  inspectCache,
  type LayerDescription,
  type RecordDescription,
} from './operations/inspect.js';
export { listCaches, type ListEntry } from './operations/list.js';
export { prune, type PruneOptions, type PruneResult } from './operations/prune/prune.js';
export type { RepairAction } from './operations/repair/action.js';
export type { LackedBlob } from './operations/repair/copies.js';
export { repairFolder, type RepairOptions, type RepairResult } from './operations/repair/repair.js';
export { importArguments, type Tool } from './operations/import-args.js';
export { resolveCache } from './operations/resolve.js';
export { exportCache } from './operations/export.js';
export { importCache } from './operations/import.js';
export { removeCache } from './operations/remove.js';
export { storePath } from './operations/store.js';
export type { Finding } from './operations/verify/finding.js';
export { verifyCache, verifyFolder, type VerifyOptions, type VerifyResult } from './operations/verify/verify.js';
export type { LayerAction, ProgressEvent } from './operations/copy/progress.js';
