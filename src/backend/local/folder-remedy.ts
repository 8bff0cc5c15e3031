import { type Finding, quoted, type Remedy } from '../finding.js';

/** What can be done about a finding in a folder. */
export function folderRemedy(folder: string, finding: Finding): Remedy {
  const command = commandOf(finding);
  return command === undefined ? {} : { repair: `bkcache ${command} ${quoted(folder)}` };
}

function commandOf({ severity, kind, wrong }: Finding): string | undefined {
  if (kind === 'oversize') return 'prune --fit-import-limit';
  if (kind === 'ends') return 'repair';
  if (kind === 'unused') return 'gc';
  if (wrong === 'padding') return 'repair --deep';
  if (severity === 'note') return undefined;
  const isProven = wrong === 'diffID' || wrong === 'toc';
  if (kind === 'document' && wrong !== 'format' && wrong !== 'limit') return isProven ? 'repair --deep' : 'repair';
  return 'repair --from OPTS';
}
