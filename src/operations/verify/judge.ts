import { faultsOf, type Proof, type StatementFault } from '../../graph/statement.js';
import type { Effect, Remark } from '../../backend/finding.js';
import type { Need, Statement } from './need.js';
import type { Report } from './report.js';

const MESSAGES: Readonly<Record<StatementFault['wrong'], string>> = {
  size: 'a layer does not have the size that its manifest says',
  mediaType: 'a layer is not of the media type that its manifest says',
  diffID: 'the diffID that a manifest says of a layer is wrong',
  toc: 'the digest that a manifest says of the table of contents of an eStargz layer is wrong',
  createdAt: 'the date of a layer in its manifest is none',
};

const EFFECT_OF_WEIGHT: Readonly<Record<StatementFault['weight'], Effect>> = {
  fatal: 'build-fails',
  missing: 'results-vanish',
  stale: 'none',
};

/**
 * Says what is wrong with each statement about a blob, by itself: that one manifest is right does not make another right.
 *
 * @param proof - left out for a blob that was not read, or is damaged
 */
export function judge(report: Report, need: Need, proof: Proof | undefined): void {
  for (const statement of need.statements) {
    const { role, origins } = statement;
    if (role === 'layer') {
      for (const fault of faultsOf(statement.descriptor, proof)) report.say(remarkOf(need, fault), origins);
      if (proof?.decompressed?.padding !== undefined) report.say(paddingOf(need, proof.decompressed.padding), origins);
    } else if (role !== 'manifest' && proof !== undefined) judgeSize(report, need, statement, proof);
  }
}

/** BuildKit's own image decompresses with pigz, which passes them over; Go's reader, which others have, does not (compress/gzip). */
function paddingOf({ digest }: Need, zeros: number): Remark {
  return {
    severity: 'note',
    kind: 'document',
    wrong: 'padding',
    message: 'there are zeros behind the gzip stream of a layer, which a BuildKit without pigz refuses',
    digest,
    found: `${zeros} bytes`,
  };
}

function remarkOf({ digest }: Need, { wrong, weight, expected, found }: StatementFault): Remark {
  const message =
    wrong === 'diffID' && weight === 'missing' ? 'a layer has no diffID, and BuildKit cannot use it' : MESSAGES[wrong];
  // BuildKit looks at the bytes here, and finds the encoding.
  const severity = wrong === 'mediaType' && weight === 'stale' ? 'note' : 'corrupt';
  return { severity, kind: 'document', effect: EFFECT_OF_WEIGHT[weight], wrong, message, digest, expected, found };
}

/** BuildKit goes by the bytes of a config in a folder, and bkcache writes the right size when it copies. */
function judgeSize(report: Report, { digest }: Need, { descriptor, origins, role }: Statement, { size }: Proof): void {
  if (descriptor.size === size) return;
  const message = `a ${role === 'config' ? 'config' : 'blob'} does not have the size that its manifest says`;
  const sizes = { expected: `${descriptor.size} bytes`, found: `${size} bytes` };
  report.say({ severity: 'note', kind: 'document', wrong: 'size', message, digest, ...sizes }, origins);
}
