import { EFFECTS, type Finding } from '../../backend/finding.js';

/** The worst first; equal folders have equal lists, whatever the order of their entries. */
export function sortedFindings(findings: readonly Finding[]): Finding[] {
  const rank = ({ severity, effect }: Finding) =>
    (severity === 'corrupt' ? 0 : EFFECTS.length) + EFFECTS.indexOf(effect);
  const text = ({ kind, message, digest, file, expected, found, tags }: Finding) =>
    [kind, message, digest, file, expected, found, ...tags].join('\n');
  return findings
    .map((finding) => ({ finding, rank: rank(finding), text: text(finding) }))
    .toSorted((a, b) => a.rank - b.rank || (a.text < b.text ? -1 : Number(a.text > b.text)))
    .map(({ finding }) => finding);
}
