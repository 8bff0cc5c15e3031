import { Worker } from 'node:worker_threads';
import { Gate } from './gate.js';
import { fromPlain, type Job, type JobResults, type Message } from './jobs.js';
import { countForThread, giveBack, type WindowCount } from '../codec/window-budget.js';

/** How long a thread without work is kept for the next blob, in milliseconds. */
const IDLE_TIME = 2000;

/** A thread without work, and the timer that ends it. */
interface IdleThread {
  readonly worker: Worker;
  readonly timer: NodeJS.Timeout;
}

const idle: IdleThread[] = [];
/** What each thread counts its zstd windows with. */
const counts = new WeakMap<Worker, WindowCount>();
let ending = 0;

/** Whether there are threads that were stopped and have not ended yet: zstd's workers finish their jobs first. */
export function areThreadsEnding(): boolean {
  return ending > 0;
}

export interface JobOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with how many bytes were read since the last time. */
  readonly onRead?: ((bytes: number) => void) | undefined;
}

/**
 * Does the work on one blob in a thread of its own, so that blobs are read, hashed, packed and written side by side,
 * and the main thread is free. There are as many threads as jobs at once; a thread does one job after the other.
 *
 * When the signal aborts, the promise is rejected as soon as the thread touches no file any more. It may take seconds
 * to end.
 *
 * @throws what the job throws; the signal's reason
 */
export async function inThread<K extends Job['kind']>(
  job: Extract<Job, { kind: K }>,
  { signal, onRead }: JobOptions,
): Promise<JobResults[K]> {
  signal?.throwIfAborted();
  const worker = takeIdle() ?? newThread();
  worker.ref();
  const gate = new Gate();
  let abort: (() => void) | undefined;
  try {
    const result = await new Promise<JobResults[Job['kind']]>((resolve, reject) => {
      abort = () => reject(signal?.reason as Error);
      signal?.addEventListener('abort', abort, { once: true });
      worker.once('error', reject);
      worker.once('exit', (code) => reject(new Error(`a thread ended with ${code}`)));
      worker.on('message', (message: Message) => {
        if (message.kind === 'read') onRead?.(message.bytes);
        else if (message.kind === 'done') resolve(message.result);
        else reject(fromPlain(message.error));
      });
      // The rule takes it for a window's.
      // oxlint-disable-next-line unicorn/require-post-message-target-origin
      worker.postMessage({ job, gate: gate.shared });
    });
    keep(worker);
    return result as JobResults[K];
  } catch (error) {
    // It may be in the middle of something, such as a read that fails late.
    forget(worker);
    await gate.close();
    end(worker);
    throw error;
  } finally {
    if (abort !== undefined) signal?.removeEventListener('abort', abort);
  }
}

function newThread(): Worker {
  const count = countForThread();
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: count });
  counts.set(worker, count);
  return worker;
}

function end(worker: Worker): void {
  ending++;
  worker.on('error', () => undefined);
  worker.unref();
  void worker.terminate().finally(() => {
    ending--;
    const count = counts.get(worker);
    if (count !== undefined) giveBack(count);
  });
}

/** A thread that has no work; its time to be idle is over with that. */
function takeIdle(): Worker | undefined {
  const taken = idle.pop();
  if (taken === undefined) return undefined;
  clearTimeout(taken.timer);
  forget(taken.worker);
  return taken.worker;
}

/** Takes our listeners off. Node has its own on a Worker, without which messages do not arrive. */
function forget(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event);
}

/** Keeps a thread for a while; it does not keep the process. */
function keep(worker: Worker): void {
  forget(worker);
  const drop = () => {
    clearTimeout(timer);
    const at = idle.findIndex((thread) => thread.worker === worker);
    if (at !== -1) idle.splice(at, 1);
  };
  const timer = setTimeout(() => {
    drop();
    void worker.terminate();
  }, IDLE_TIME).unref();
  worker.once('error', drop).once('exit', drop);
  worker.unref();
  idle.push({ worker, timer });
}
