import { type Effect, EFFECTS, type Finding } from '../../backend/finding.js';

/** The effects in words. */
export const EFFECT_WORDS: Readonly<Record<Effect, string>> = {
  'daemon-exits': 'buildkitd exits when it imports this, and every build on it fails',
  'build-fails': 'a build that needs this fails',
  'import-refused': 'BuildKit imports nothing from this cache, and builds go on without it',
  'results-vanish': 'BuildKit leaves these results out, and their steps run again',
  'steps-run': 'steps run again',
  none: 'nothing',
};

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
