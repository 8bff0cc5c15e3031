import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { type Cause, explainCaches } from '../../../src/operations/explain/explain.js';
import { explainText, stepName } from '../../../src/report/text/explain.js';
import { FIXTURES, fixture, importOf } from '../../support/fixtures.js';

const FOLDER = join(fixture('..'), 'explain');
const PAIRS = readdirSync(FOLDER);

/** What BuildKit did with a pair of caches, and why. */
interface Truth {
  readonly why: readonly { readonly step: string; readonly kind: string; readonly paths: readonly string[] }[];
  readonly steps: readonly { readonly step: string; readonly now: 'hit' | 'miss' }[];
}

function truthOf(pair: string): Truth {
  return JSON.parse(readFileSync(join(FOLDER, pair, 'truth.json'), 'utf8')) as Truth;
}

function explain(pair: string, tag: string) {
  return explainCaches(`type=local,src=${FOLDER}/${pair}/A`, `type=local,src=${FOLDER}/${pair}/B,tag=${tag}`);
}

/** The kinds of the truth, by ours. What a definition has in it is not known from the caches alone. */
function kindOf({ kind }: Cause): RegExp {
  const known: Partial<Record<Cause['kind'], RegExp>> = {
    baseImage: /^base image$/,
    definition: /^definition: (?:ARG|ENV|command|platform)/,
    sourceDateEpoch: /^definition: SOURCE_DATE_EPOCH$/,
    moved: /^definition: order$/,
    noResult: /^result not there$/,
    layerMissing: /^layer not there$/,
    unseen: /^xattrs$/,
  };
  return known[kind] ?? new RegExp(`^${kind}$`);
}

for (const pair of PAIRS) {
  test(`${pair}: steps that miss, and why, as BuildKit showed`, async (t) => {
    const { why, steps } = truthOf(pair);
    const isTaken = why.every(({ kind }) => kind !== 'not taken');
    for (const tag of ['latest', 'warm']) {
      const explanation = await explain(pair, tag);
      const expected = steps.filter(({ step, now }) => now === 'miss' && !step.startsWith('[context')).length;
      t.is(explanation.missed.length, isTaken ? expected : 0, tag);
      t.is(explanation.refused, undefined);
      const wanted = why.filter(({ step }) => step !== '*');
      for (const cause of explanation.causes) {
        const name = cause.kind === 'baseImage' ? 'FROM' : stepName(cause.step);
        const same = wanted.filter(({ kind }) => kindOf(cause).test(kind));
        t.true(same.length > 0, `${tag}: ${cause.kind} is no cause here`);
        // A RUN has no name in a cache.
        if (cause.step.kind !== 'RUN')
          t.true(
            same.some(({ step }) => name.startsWith(step)),
            `${tag}: ${name}`,
          );
        const paths = same.flatMap((one) => one.paths);
        if (cause.of !== undefined) t.deepEqual(cause.details, paths, tag);
      }
      for (const { kind } of wanted)
        t.true(
          explanation.causes.some((cause) => kindOf(cause).test(kind)),
          kind,
        );
    }
    const warm = await explain(pair, 'warm');
    if (!isTaken) t.is(warm.taken, 'no');
    else t.not(warm.taken, 'no', 'a build that took results has their layers');
  });
}

test('a cache explains itself: nothing missed', async (t) => {
  for (const [name, tag] of FIXTURES) {
    if (name.startsWith('min')) continue;
    const explanation = await explainCaches(importOf(name, tag), importOf(name, tag));
    t.deepEqual([explanation.missed, explanation.causes, explanation.times], [[], [], 0], name);
    t.regex(explainText(explanation), /Nothing missed\.\n$/);
  }
});

test('sentences name the step, what changed, and how that is known', async (t) => {
  const sentences: Readonly<Record<string, RegExp>> = {
    mode: /^COPY src \/w\/src: the modes of 1 of \d+ paths changed \(0644 → 0664\): \/w\/src\/a\.txt; another umask does that \[seen in the layers\]$/m,
    base: /^FROM: another base image; 1 path differs: \/etc\/os \[seen in the layers\]$/m,
    epoch:
      /^WORKDIR \/w: SOURCE_DATE_EPOCH changed \(2023-11-14T22:13:20Z → 2023-11-15T22:13:20Z\) \[proven by digests\]$/m,
    'command-cutoff': /^COPY --from=… \/w\/app \/app hits again: the steps before it ran and gave the same files\.$/m,
    'arg-unused':
      /^RUN \+ \/w\/app \(1 file, 34 B\); RUN \+ \/w\/report .*ARG, ENV, USER or WORKDIR before it \[inferred\]$/m,
    'no-cache':
      /^Every key is in the first cache, and nothing was taken: no import, --no-cache, or an import that failed\.$/m,
    'min-docs': /^WORKDIR \/w; .*: the key is there, and the result is not: the first cache looks like mode=min/m,
  };
  for (const [pair, sentence] of Object.entries(sentences)) t.regex(explainText(await explain(pair, 'warm')), sentence);
});
