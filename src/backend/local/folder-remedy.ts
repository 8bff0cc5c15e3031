import { type Finding, quoted, type Remedy } from '../finding.js';

/** What can be done about a finding in a folder. */
export function folderRemedy(folder: string, finding: Finding): Remedy {
  const command = commandOf(finding);
  return command === undefined ? {} : { repair: `bkcache ${command} ${quoted(folder)}` };
}

function commandOf({ severity, kind, wrong, effect, tags, hint }: Finding): string | undefined {
  if (kind === 'oversize') return 'prune --fit-import-limit';
  if (kind === 'ends') return 'repair';
  if (kind === 'unused') return 'gc';
  if (wrong === 'padding') return 'repair --deep';
  if (severity === 'note' || (kind === 'damaged' && wrong === 'limit')) return undefined;
  // Good bytes come from a copy; a damaged blob that nothing refers to is only moved to quarantine.
  if (kind === 'missing' || (kind === 'damaged' && tags.length > 0)) return 'repair --from OPTS';
  // What repair leaves as it is says itself what helps.
  if (hint !== undefined && kind !== 'damaged') return undefined;
  // That a layer has no diffID is seen without looking deep.
  const isProven = wrong === 'toc' || (wrong === 'diffID' && effect !== 'results-vanish');
  return isProven ? 'repair --deep' : 'repair';
}
