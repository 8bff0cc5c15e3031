import type { OwnSteps } from '../../graph/steps.js';
import type { DefinitionHint, FoundCause } from './cause.js';
import type { Side } from './side.js';

/** Says what each definition without a name must be: a variable changes all RUNs behind it, a command only one. */
export function withHints(causes: readonly FoundCause[], side: Side, own: OwnSteps): readonly FoundCause[] {
  const isRun = (record: number) => side.kind(record) === 'RUN';
  const isUnnamed = ({ kind, record }: FoundCause) => kind === 'definition' && isRun(record);
  const changed = new Set(causes.filter(isUnnamed).map(({ record }) => record));
  if (changed.size === 0) return causes;
  const runs = new Set(own.order.filter((record) => !side.steps.isSource(record) && isRun(record)));
  const behind = new Map([...changed].map((record) => [record, runsBehind(record, side, own, runs)]));
  const isBehind = (x: number, y: number) => behind.get(y)?.has(x) === true;
  const isApart = (x: number, y: number) => x !== y && !isBehind(x, y) && !isBehind(y, x);
  const isEvery =
    changed.size > 1 && changed.size === runs.size && [...changed].some((x) => [...changed].some((y) => isApart(x, y)));
  const hintOf = (record: number): DefinitionHint => {
    const later = [...(behind.get(record) ?? [])];
    if (isEvery) return 'platform';
    if (later.length > 0 && later.every((run) => changed.has(run))) return 'variable';
    if (later.length > 0 && !later.some((run) => changed.has(run))) return 'command';
    return [...changed].some((run) => isBehind(record, run)) ? 'asBefore' : 'last';
  };
  return causes.map((cause) => (isUnnamed(cause) ? { ...cause, hint: hintOf(cause.record) } : cause));
}

function runsBehind(record: number, side: Side, own: OwnSteps, runs: ReadonlySet<number>): ReadonlySet<number> {
  const found = new Set<number>();
  const open = [record];
  for (let step = open.pop(); step !== undefined; step = open.pop()) {
    for (const { record: consumer, input } of side.steps.consumers[step] ?? []) {
      if (input !== 0 || found.has(consumer) || !own.has(consumer)) continue;
      found.add(consumer);
      open.push(consumer);
    }
  }
  return new Set([...found].filter((step) => runs.has(step)));
}
