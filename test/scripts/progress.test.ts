import test from 'ava';
import { stepsOf } from '../../scripts/buildkit/progress.js';

const STARTED = '2026-01-01T00:00:00.1Z';
const COMPLETED = '2026-01-01T00:00:00.2Z';

/** What BuildKit 0.13 said of steps, by what had become of them; the digests are short. */
const SAID = [
  [{ digest: 'a', name: '[internal] load build context', started: STARTED, completed: COMPLETED }],
  [{ digest: 'b', name: 'importing cache manifest from local:14364093121409840547', started: STARTED }],
  // Listed, and not needed.
  [{ digest: 'c', inputs: ['a'], name: '[deps 1/2] COPY package.json /app/' }],
  // Loaded, and fetched afterwards, of which people see the last word alone.
  [
    { digest: 'd', inputs: ['a', 'c'], name: '[deps 2/2] COPY assets /deps/', started: STARTED, cached: true },
    {
      digest: 'd',
      inputs: ['a', 'c'],
      name: '[deps 2/2] COPY assets /deps/',
      started: STARTED,
      completed: COMPLETED,
      cached: true,
    },
  ],
  [
    { digest: 'd', name: '[deps 2/2] COPY assets /deps/', started: STARTED },
    { digest: 'd', name: '[deps 2/2] COPY assets /deps/', started: STARTED, completed: COMPLETED },
  ],
  // Run.
  [{ digest: 'e', inputs: ['d'], name: '[build 1/3] RUN echo CACHED', started: STARTED }],
  [{ digest: 'e', inputs: ['d'], name: '[build 1/3] RUN echo CACHED', started: STARTED, completed: COMPLETED }],
  // Taken for cached, and run when its result could not be loaded.
  [
    {
      digest: 'f',
      inputs: ['e'],
      name: '[build 2/3] COPY src /app/src/',
      started: STARTED,
      completed: COMPLETED,
      cached: true,
    },
    { digest: 'f', inputs: ['e'], name: '[build 2/3] COPY src /app/src/', started: STARTED },
  ],
  // Not loaded.
  [
    {
      digest: 'g',
      inputs: ['f'],
      name: '[build 3/3] RUN false',
      started: STARTED,
      completed: COMPLETED,
      cached: true,
      error: 'not found',
    },
  ],
];

const DOCUMENTS = [...SAID.map((vertexes) => ({ vertexes })), { statuses: [{ id: 'extracting', vertex: 'd' }] }];

const EXPECTED = [
  { name: '[deps 2/2] COPY assets /deps/', cached: true },
  { name: '[build 1/3] RUN echo CACHED', cached: false },
  { name: '[build 2/3] COPY src /app/src/', cached: false },
  { name: '[build 3/3] RUN false', cached: false },
];

for (const [layout, indent] of [
  ['over several lines', 2],
  ['on a line each', 0],
] as const) {
  test(`a step is cached when its result was loaded and it was not run; documents ${layout}`, (t) => {
    const documents = DOCUMENTS.map((document) => JSON.stringify(document, undefined, indent));
    const steps = stepsOf(['#0 building', ...documents, 'ERROR: failed to solve', ''].join('\n'));
    t.deepEqual(
      steps.map(({ name, cached }) => ({ name, cached })),
      EXPECTED,
    );
    t.is(steps[0]?.said, 'cached: begins, cached: ends, fetched: begins, fetched: ends');
    t.is(steps[3]?.said, 'cached: ends with not found');
  });
}

test('output without steps has none', (t) => {
  t.deepEqual(stepsOf('ERROR: failed to connect to the docker API'), []);
});
