import test from 'ava';
import { stepsOf } from '../../scripts/buildkit/progress.js';

// Taken from builds with BuildKit 0.13, shortened.
const OUTPUT = `#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 572B done
#1 DONE 0.0s

#3 importing cache manifest from local:14364093121409840547
#3 inferred cache manifest type: application/vnd.oci.image.index.v1+json done
#3 DONE 0.0s

#5 [base 1/2] COPY busybox /bin/busybox
#5 CACHED

#6 [deps 1/1] RUN echo CACHED
#6 0.113 CACHED
#6 DONE 0.1s

#8 [stage-2 2/3] COPY --link --from=deps /deps/logo.txt /static/logo.txt
#8 DONE 0.1s

#14 [stage-3 3/3] RUN echo ready > /app/READY
#14 sha256:b52fc51cd9b8328f222a7463b4587d59bbe30fc1e55c0bcf50c0694d4833a944 1.10MB / 1.10MB 0.0s done
#14 extracting sha256:b52fc51cd9b8328f222a7463b4587d59bbe30fc1e55c0bcf50c0694d4833a944 0.1s done
#14 CACHED

#8 [stage-2 2/3] COPY --link --from=deps /deps/logo.txt /static/logo.txt
#8 merging 0.1s done
#8 DONE 0.1s

#15 exporting to oci image format
#15 exporting layers done
#15 DONE 0.1s
`;

test('a step is cached only when BuildKit says so of it', (t) => {
  t.deepEqual(stepsOf(OUTPUT), [
    { name: '[base 1/2] COPY busybox /bin/busybox', cached: true },
    { name: '[deps 1/1] RUN echo CACHED', cached: false },
    { name: '[stage-2 2/3] COPY --link --from=deps /deps/logo.txt /static/logo.txt', cached: false },
    { name: '[stage-3 3/3] RUN echo ready > /app/READY', cached: true },
  ]);
});

test('output without steps has none', (t) => {
  t.deepEqual(stepsOf('ERROR: failed to connect to the docker API'), []);
});
