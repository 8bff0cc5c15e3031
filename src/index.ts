export type {
  Amount,
  FolderGcResult,
  GcResult,
  RequestBudget,
  RequestCounts,
  TagUsage,
  TouchResult,
} from './backend/cache-store.js';
export type { Effect, Finding, FindingKind, Remedy } from './backend/finding.js';
export type { RequiredBlob } from './backend/bundle/required.js';
export type { ImageFit } from './backend/backend.js';
export {
  type CacheOptions,
  type CacheType,
  formatOptions,
  type OnNote,
  parseExport,
  parseImport,
} from './buildkit/options.js';
export type { Compression } from './codec/compression.js';
export {
  CacheError,
  type CacheErrorOptions,
  type ErrorCode,
  type ErrorDetails,
  type PlainCacheError,
  type Side,
  type Wrong,
} from './errors.js';
export type { RecordFit } from './graph/inline.js';
export type { Shape } from './graph/save.js';
export type { LayoutSettings } from './layout/settings.js';
export type { Annotations, Descriptor } from './oci/descriptor.js';
export type { Digest } from './oci/digest.js';
export { type HaveResult, listLayers } from './operations/bundle/have.js';
export {
  packCaches,
  type PackedEntry,
  type PackEncoding,
  type PackOptions,
  type PackResult,
} from './operations/bundle/pack.js';
export { unpackCaches, type UnpackedEntry, type UnpackOptions, type UnpackResult } from './operations/bundle/unpack.js';
export type { CacheSummary } from './operations/cache-summary.js';
export { type CopyOptions, type CopyResult, copyCache, type ExportResult } from './operations/copy/copy.js';
export type { TransferOptions } from './operations/copy/export.js';
export type { RunResult } from './operations/copy/run-export.js';
export type { LayerAction, ProgressEvent } from './operations/copy/progress.js';
export type { Transferred } from './operations/copy/transfer.js';
export { exportCache } from './operations/export.js';
export { collectGarbage, type GarbageOptions } from './operations/gc.js';
export { catCache, type CatOptions } from './operations/files/cat.js';
export { type FilesOfLayer, type FilesOptions, listFiles } from './operations/files/list-files.js';
export {
  type Cause,
  type Evidence,
  explainCaches,
  type Explanation,
  type StepDescription,
} from './operations/explain/explain.js';
export type { Difference } from './operations/explain/compare-trees.js';
export type { CauseKind, DefinitionHint } from './operations/explain/cause.js';
export type { LayerSummary } from './operations/explain/side.js';
export { importArguments, type Tool } from './operations/import-args.js';
export { importCache } from './operations/import.js';
export type { FileType, LayerFile } from './codec/layer-files.js';
export {
  type CacheDescription,
  inspectCache,
  type LayerDescription,
  type RecordDescription,
} from './operations/inspect.js';
export { listCaches, type ListEntry } from './operations/list.js';
export type { DropReason, TagPolicy } from './operations/prune/policy.js';
export { prune, type PruneOptions, type PruneResult, type ShrunkTag } from './operations/prune/prune.js';
export type { UseSource } from './operations/prune/tagged.js';
export { removeCache, type RemoveOptions } from './operations/remove.js';
export type { RepairAction } from './operations/repair/action.js';
export type { LackedBlob } from './operations/repair/copies.js';
export { repairFolder, type RepairOptions, type RepairResult } from './operations/repair/repair.js';
export { resolveCache } from './operations/resolve.js';
export { touchCaches, type TouchCachesOptions } from './operations/touch.js';
export { storePath } from './operations/store.js';
export type { Sample } from './operations/verify/sample.js';
export {
  verifyCache,
  verifyFolder,
  type VerifyOptions,
  type VerifyProgress,
  type VerifyResult,
} from './operations/verify/verify.js';
export type { WorkOptions } from './operations/work-options.js';
export type { RegistryAccess, RegistryUser, SessionOptions } from './session.js';
