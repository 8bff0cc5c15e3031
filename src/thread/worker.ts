import { parentPort, workerData } from 'node:worker_threads';
import { Gate } from './gate.js';
import { JobFiles } from './job-files.js';
import { type JobMessage, type Message, toPlain } from './jobs.js';
import { type SharedCount, useCount } from './shared-count.js';

/** How many bytes are read between two messages about it. */
const REPORT_EVERY = 2 * 1024 * 1024;

const port = parentPort;
useCount(workerData as SharedCount);

port?.on('message', (job: JobMessage) => {
  let unreported = 0;
  const report = () => {
    tell({ kind: 'read', bytes: unreported });
    unreported = 0;
  };
  const files = new JobFiles(new Gate(job.gate), (bytes) => {
    unreported += bytes;
    if (unreported >= REPORT_EVERY) report();
  });
  run(job, files).then(
    (result) => {
      report();
      tell({ kind: 'done', result });
    },
    (error: unknown) => tell({ kind: 'failed', error: toPlain(error) }),
  );
});

function tell(message: Message): void {
  // The rule takes it for a window's.
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  port?.postMessage(message);
}

async function run({ module, task, input }: JobMessage, files: JobFiles): Promise<unknown> {
  const exported = (await import(module)) as Record<string, ((input: unknown, files: JobFiles) => unknown) | undefined>;
  const found = exported[task];
  if (found === undefined) throw new Error(`${module} has no task ${task}`);
  return found(input, files);
}
