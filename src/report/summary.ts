import prettyBytes from 'pretty-bytes';
import type { CopyResult, ExportResult } from '../copy.js';

/** What a copy did, in a line or two for each export. */
export function summary({ exports }: CopyResult): string {
  return exports.map((result) => `${lines(result).join('\n')}\n`).join('');
}

function lines(result: ExportResult): string[] {
  const { target, descriptor, mode, shape, records, kept } = result;
  const cache = `${target}: ${descriptor.digest}\n  mode=${mode}, ${shape}, ${compressions(result)}, ${records} records`;
  const hint = `  ${kept} ${plural(kept, 'layer')} kept in another compression; add force-compression=true to convert all`;
  return [cache, ...(kept > 0 ? [hint] : []), `  ${work(result)}`];
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
    ...(actions.foreign > 0 ? [`${actions.foreign} foreign left alone`] : []),
  ];
  const ratio = bytesRead > 0 && actions.converted > 0 ? ` (${((bytesWritten / bytesRead) * 100).toFixed(0)} %)` : '';
  return `${parts.join(', ')}; ${prettyBytes(bytesRead)} in, ${prettyBytes(bytesWritten)} out${ratio}, ${(duration / 1000).toFixed(1)} s`;
}

function plural(count: number, noun: string): string {
  return count === 1 ? noun : `${noun}s`;
}
