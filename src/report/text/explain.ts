import prettyBytes from 'pretty-bytes';
import type { Cause, Explanation, StepDescription } from '../../operations/explain/explain.js';
import { escapedLines } from './control-characters.js';
import { plural, quantity } from './phrases.js';

/** How many paths a sentence names. */
const SHOWN = 3;

/** Why steps missed, as sentences: one for each cause, in the order of the build, with the evidence at its end. */
export function explainText(explanation: Explanation): string {
  const { imported, written, missed, steps, causes, following, taken, olderKeys, hitAgain, refused } = explanation;
  const head = `${missed.length} of ${quantity(steps, 'step')} of ${written} ${plural(missed.length, 'misses', 'miss')} with ${imported}`;
  const about = [
    ...(refused === undefined ? [] : [`BuildKit does not import ${imported}: ${refused}`]),
    ...(taken === 'no' && missed.length > 0
      ? ['The build took nothing from that cache: its RUNs have layers of their own.']
      : []),
    ...(olderKeys > 0
      ? [
          `${quantity(olderKeys, 'key')} of earlier builds in ${written} ${plural(olderKeys, 'is no step', 'are no steps')} of this build.`,
        ]
      : []),
  ];
  const sentences =
    missed.length === 0
      ? [nothingMissed(explanation)]
      : grouped(causes).map(
          ({ steps: all, cause }) => `${subject(all, cause)}: ${sentence(cause, explanation)} [${WORDS[cause.how]}]`,
        );
  const again = hitAgain.map(
    (step) => `${stepName(step)} hits again: the steps before it ran and gave the same files.`,
  );
  const follow =
    following === 0
      ? []
      : [`${quantity(following, 'other step')} ${plural(following, 'follows', 'follow')} from that.`];
  return escapedLines([head, ...about, '', ...sentences, ...again, ...follow]);
}

interface Group {
  readonly steps: StepDescription[];
  readonly cause: Cause;
}

/** Causes that say the same of several steps become one sentence. */
function grouped(causes: readonly Cause[]): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const [index, cause] of causes.entries()) {
    const { kind, details, of, hint } = cause;
    // A variable changes a RUN and those behind it. The content of one step is not that of another.
    const said = of === undefined ? [kind, details, hint === 'asBefore' ? 'variable' : hint] : index;
    const key = JSON.stringify(said);
    const group = groups.get(key) ?? { steps: [], cause };
    group.steps.push(cause.step);
    groups.set(key, group);
  }
  return [...groups.values()];
}

function subject(steps: readonly StepDescription[], { kind }: Cause): string {
  return kind === 'baseImage' ? 'FROM' : steps.map(stepName).join('; ');
}

const WORDS = {
  proven: 'proven by digests',
  layers: 'seen in the layers',
  inferred: 'inferred',
  unknown: 'cannot be told from the caches',
} as const;

function nothingMissed({ taken, times }: Explanation): string {
  if (taken === 'no') {
    return 'Every key is in the first cache, and nothing was taken: no import, --no-cache, or an import that failed.';
  }
  if (times > 0) return `Nothing missed: only the times of ${quantity(times, 'file')} differ, and no key sees times.`;
  return 'Nothing missed.';
}

/** A proven line, or what is known without one: "RUN + /w/app (1 file, 61 MB)". */
export function stepName({ name, kind, from, adds }: StepDescription): string {
  if (name !== undefined) {
    // The record has the last part of the path of the source; the selector has all of it.
    return from === undefined ? name : name.replace(/^(COPY|ADD)((?: --\S+)*) \S+/, `$1 --from=…$2 ${from}`);
  }
  if (adds === undefined) return kind;
  const files = adds.files === 0 ? 'folders alone' : `${quantity(adds.files, 'file')}, ${prettyBytes(adds.size)}`;
  return `${kind} + ${adds.folders.join(' ')} (${files})`;
}

function sentence({ kind, details, of, modes, hint, step }: Cause, { looksMin }: Explanation): string {
  const list = `${details.slice(0, SHOWN).join(', ')}${details.length > SHOWN ? ', …' : ''}`;
  const files = of === undefined ? quantity(details.length, 'path') : `${details.length} of ${quantity(of, 'path')}`;
  switch (kind) {
    case 'content':
      return `the content of ${files} changed: ${list}`;
    case 'mode':
      return details.every((path) => path === '.')
        ? 'its key differs and its files do not: the mode of the copied folder itself changed'
        : `the modes of ${files} changed${modes === undefined ? '' : ` (${modes.join(' → ')})`}: ${list}; another umask does that`;
    case 'owner':
      return `the owners of ${files} changed: ${list}`;
    case 'xattrs':
      return `the extended attributes of ${files} changed: ${list}`;
    case 'linkTarget':
      return `${quantity(details.length, 'link')} ${plural(details.length, 'leads', 'lead')} elsewhere: ${list}`;
    case 'type':
      return `${files} became something else: ${list}`;
    case 'added':
      return `${quantity(details.length, 'path')} more: ${list}`;
    case 'removed':
      return `${quantity(details.length, 'path')} fewer: ${list}`;
    case 'renamed':
      return `renamed: ${list}`;
    case 'baseImage':
      return `another base image${details.length === 0 ? '' : `; ${files} ${plural(details.length, 'differs', 'differ')}: ${list}`}`;
    case 'mount':
      return 'what it mounts changed; caches do not hold it';
    case 'unknownContent':
      return 'what it copies changed; a layer that would show the files is in one of the caches alone';
    case 'unseen':
      return 'its key differs and its files do not: something that COPY reads and does not keep, such as an extended attribute';
    case 'sourceDateEpoch':
      return `SOURCE_DATE_EPOCH changed (${details.join(' → ')})`;
    case 'workdir':
      return `another folder (${details.join(' → ')})`;
    case 'options':
      return `its own words changed (${details.join(' → ')})`;
    case 'otherInstruction':
      return `it is another instruction (${details.join(' → ')})`;
    case 'inserted':
      return 'this step was put in; what follows stands on it';
    case 'deleted':
      return 'a step before it was taken out';
    case 'moved':
      return 'it and the step behind it changed places';
    case 'new':
      return 'nothing in the first cache corresponds to it';
    case 'layerMissing':
      return 'key and result are there, and a layer is missing from the manifest: the export was incomplete';
    case 'noResult':
      return looksMin
        ? 'the key is there, and the result is not: the first cache looks like mode=min'
        : 'the key is there, and the result is not: evicted, or never exported';
    case 'definition':
      return `the same inputs, and another definition${definition(step, hint)}`;
  }
}

function definition({ kind }: StepDescription, hint: Cause['hint']): string {
  switch (hint) {
    case 'platform':
      return '; so has every RUN of every stage: the platform, or a variable that all stages have';
    case 'variable':
      return '; so have all RUNs behind it: an ARG, ENV, USER or WORKDIR before it';
    case 'command':
      return '; no RUN behind it changed: its command, or its mounts';
    case 'asBefore':
      return '; as in the RUN before it';
    case 'last':
      return '; no RUN stands behind it: its command, its mounts, or a variable';
    case undefined:
      return kind === 'RUN' ? '' : ': its options, its source or its target';
  }
}
