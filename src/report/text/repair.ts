import type { RepairAction } from '../../operations/repair/action.js';
import type { RepairResult } from '../../operations/repair/repair.js';
import { escapedLines } from './control-characters.js';
import { quantity, requestsText } from './phrases.js';

/** The result of repair as text: a line for each action, and what is still wrong. */
export function repairText(
  folder: string,
  { actions, findings, sound, lacked, requests }: RepairResult,
  dryRun: boolean,
): string {
  const wrong = findings.filter(({ severity }) => severity === 'corrupt');
  const lines = [
    ...lacked.map(({ reason }) => `not to be had: ${reason}`),
    ...actions.flatMap(actionLines).map((line) => (dryRun ? `would have ${line}` : line)),
    ...(dryRun ? [] : wrong.map(({ message, digest = '' }) => `still wrong: ${message} ${digest}`.trimEnd())),
    ...(requests === undefined ? [] : [requestsText(requests)]),
    ending(folder, actions.length, sound, dryRun),
  ];
  return escapedLines(lines);
}

function ending(folder: string, actions: number, sound: boolean, dryRun: boolean): string {
  if (actions === 0) return sound ? `${folder}: sound; nothing was changed` : `${folder}: nothing could be repaired`;
  if (dryRun) return `${folder}: nothing was changed`;
  return sound ? `${folder}: sound again` : `${folder}: not sound yet`;
}

function actionLines(action: RepairAction): string[] {
  switch (action.type) {
    case 'fetched':
      return [`fetched ${action.digest} from ${action.from}`];
    case 'set-aside':
      return [`moved to quarantine: ${action.digest}, which is damaged: the next build that needs it writes it again`];
    case 'cut': {
      const { tag = 'an entry without a tag', resultsBefore, results, to } = action;
      return [`cut ${tag}: results on ${results} of ${resultsBefore} records are left, now ${to}`];
    }
    case 'joined':
      return [`joined the ${action.ends} ends of ${action.tag ?? 'an entry without a tag'}, now ${action.to}`];
    case 'renamed':
      return [`pointed ${action.tag ?? action.from} at ${action.to}, the one cache in the folder that no tag named`];
    case 'rewritten':
      return [
        `corrected the ${action.wrong.join(', ')} in the manifest of ${action.tag ?? action.from}, now ${action.to}`,
      ];
    case 'dropped':
      return [`dropped ${action.tag ?? action.digest}: ${action.reason}`];
    case 'corrected':
      return [`corrected the entry of ${action.tag ?? action.digest} in index.json`];
    case 'rebuilt':
      return [
        `rebuilt index.json with ${quantity(action.entries, 'entry', 'entries')}`,
        ...action.nameless.map((digest) => `found ${digest}, a cache whose tag is not known`),
      ];
    case 'marked':
      return ['restored oci-layout'];
  }
}
