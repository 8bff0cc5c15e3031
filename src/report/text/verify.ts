import prettyBytes from 'pretty-bytes';
import type { Effect, Finding } from '../../backend/finding.js';
import type { VerifyResult } from '../../operations/verify/verify.js';
import { escapedLines } from './control-characters.js';
import { quantity, plural, requestsText } from './phrases.js';

/** The effects in words. */
const EFFECT_WORDS: Readonly<Record<Effect, string>> = {
  'daemon-exits': 'buildkitd exits when it imports this, and every build on it fails',
  'build-fails': 'a build that needs this fails',
  'import-refused': 'BuildKit imports nothing from this cache, and builds go on without it',
  'results-vanish': 'BuildKit leaves these results out, and their steps run again',
  'steps-run': 'steps run again',
  none: 'nothing',
};

/** The result of verify as text: a paragraph for each finding, and a summary line. */
export function verifyText(result: VerifyResult): string {
  const { target, sound, findings, tags, blobs, read, bytesRead, requests } = result;
  const wrong = findings.filter(({ severity }) => severity === 'corrupt').length;
  const part = read === blobs ? `${read}` : `${read} of ${blobs}`;
  const what = `${quantity(tags, 'entry', 'entries')}, ${part} blobs read (${prettyBytes(bytesRead)})`;
  const verdict = sound ? 'sound' : `${quantity(wrong, 'thing is', 'things are')} wrong`;
  const asked = requests === undefined ? [] : [requestsText(requests)];
  return escapedLines([...findings.flatMap(lines), ...asked, `${target}: ${verdict}; ${what}`]);
}

function lines(finding: Finding): string[] {
  const { severity, effect, message, tags, digest, file, wrong, kind, expected, found, repair, hint } = finding;
  const isHarmless = severity === 'note' && effect === 'none';
  const details = [
    ...(isHarmless ? [] : [`in a build: ${EFFECT_WORDS[effect]}`]),
    ...(tags.length === 0 ? [] : [`${plural(tags.length, 'tag')}: ${tags.join(', ')}`]),
    ...(file !== undefined ? [`file: ${file}`] : []),
    // A message about a wrong digest names the blob already.
    ...(digest !== undefined && (kind !== 'damaged' || wrong !== 'digest') ? [`digest: ${digest}`] : []),
    ...(expected === undefined ? [] : [`expected: ${expected || '(empty)'}`]),
    ...(found === undefined ? [] : [`found: ${found || '(empty)'}`]),
    ...(repair === undefined ? [] : [`repair: ${repair}`]),
    ...(hint === undefined ? [] : [`hint: ${hint}`]),
  ];
  return [`${severity}: ${message}`, ...details.map((detail) => `  ${detail}`)];
}
