import type { CauseKind } from './cause.js';
import type { StepFacts } from './name-steps.js';

/** What of a definition changed, as far as both are proven. */
export function definitionChange(
  before: StepFacts | undefined,
  after: StepFacts | undefined,
): { readonly kind: CauseKind; readonly details: readonly string[] } {
  if (before === undefined || after === undefined) return { kind: 'definition', details: [] };
  if (before.kind !== after.kind) return { kind: 'otherInstruction', details: [before.text, after.text] };
  if (before.kind === 'WORKDIR' && after.kind === 'WORKDIR') {
    const kind = before.timestamp === after.timestamp ? 'workdir' : 'sourceDateEpoch';
    const details =
      kind === 'workdir' ? [before.path, after.path] : [dateOf(before.timestamp), dateOf(after.timestamp)];
    return { kind, details };
  }
  return { kind: 'options', details: [before.text, after.text] };
}

function dateOf(seconds: number | undefined): string {
  return seconds === undefined ? 'unset' : new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}
