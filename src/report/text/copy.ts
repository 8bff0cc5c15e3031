import prettyBytes from 'pretty-bytes';
import type { ImageFit } from '../../backend/backend.js';
import type { CopyResult, ExportResult } from '../../operations/copy/copy.js';
import { escapedLines } from './control-characters.js';
import { quantity, plural } from './phrases.js';

/** The result of a copy as text: a few lines for each export. */
export function copyText({ exports }: CopyResult): string {
  return escapedLines(exports.flatMap(lines));
}

function lines(result: ExportResult): string[] {
  if (result.images !== undefined) return inlineLines(result, result.images);
  const { target, descriptor, mode, shape = 'no manifest', records, kept } = result;
  const cache = `  mode=${mode}, ${shape}, ${compressions(result)}, ${records} records`;
  const hint = `  ${quantity(kept, 'layer')} kept in another compression; add force-compression=true to convert all`;
  const corrected = `  ${quantity(result.corrected, 'layer')} had another media type than that of the bytes, and ${plural(result.corrected, 'has', 'have')} the right one now`;
  return [
    `${target}: ${descriptor.digest}`,
    cache,
    ...(kept > 0 ? [hint] : []),
    ...(result.corrected > 0 ? [corrected] : []),
    `  ${work(result)}`,
  ];
}

/** The records that were written into an image, and the records that do not fit it. */
function inlineLines({ target, descriptor, duration }: ExportResult, images: readonly ImageFit[]): string[] {
  const platforms = images.map(({ platform, fitting, others, fault, addedHistory = 0 }) => {
    const count = `${fitting.length} of ${fitting.length + others.length} records with results`;
    if (fault !== undefined) return [`  ${platform}: left alone: ${fault}`];
    return [
      `  inline in ${platform}: ${count} consist of its layers`,
      ...(addedHistory === 0
        ? []
        : [`    history: ${quantity(addedHistory, 'entry', 'entries')} added, as BuildKit needs one for each layer`]),
      ...(fitting.length === 0 ? [] : [`    kept: ${names(fitting)}`]),
      ...(others.length === 0 ? [] : [`    not: ${names(others.map(({ record }) => record))}`]),
    ];
  });
  return [`${target}: ${descriptor.digest}`, ...platforms.flat(), `  ${(duration / 1000).toFixed(1)} s`];
}

/** The short digests of at most 12 records. */
function names(digests: readonly string[]): string {
  const shown = digests.slice(0, 12).map((digest) => digest.slice(digest.indexOf(':') + 1).slice(0, 12));
  const more = digests.length - shown.length;
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more (--json has them all)` : ''}`;
}

function compressions({ compressions: counts }: ExportResult): string {
  const parts = Object.entries(counts).map(([name, count]) => `${name} × ${count}`);
  return parts.length === 0 ? 'no layers' : parts.join(' + ');
}

function work({ actions, bytesRead, bytesWritten, duration }: ExportResult): string {
  const parts = [
    `${actions.copied} copied`,
    `${actions.converted} converted`,
    `${actions.present} already there`,
    ...(actions.mounted > 0 ? [`${actions.mounted} mounted`] : []),
    ...(actions.foreign > 0 ? [`${actions.foreign} foreign and not there`] : []),
  ];
  const ratio = bytesRead > 0 && actions.converted > 0 ? ` (${((bytesWritten / bytesRead) * 100).toFixed(0)} %)` : '';
  return `${parts.join(', ')}; ${prettyBytes(bytesRead)} in, ${prettyBytes(bytesWritten)} out${ratio}, ${(duration / 1000).toFixed(1)} s`;
}
