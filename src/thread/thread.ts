import { Worker } from 'node:worker_threads';
import { Gate } from './gate.js';
import { fromPlain, type Job, type JobMessage, type Message, type Task } from './jobs.js';
import { countForThread, returnAll, type SharedCount } from './shared-count.js';

/** How long a thread without work is kept for the next blob, in milliseconds. */
const IDLE_TIME = 2000;

/** A thread without work, and the timer that ends it. */
interface IdleThread {
  readonly worker: Worker;
  readonly timer: NodeJS.Timeout;
}

const idle: IdleThread[] = [];
/** The count of each thread. */
const counts = new WeakMap<Worker, SharedCount>();
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
 * Does a job in a thread of its own, so that blobs are read, hashed, compressed and written in parallel and the main
 * thread is free. There are as many threads as jobs at once; a thread does one job after the other.
 *
 * When the signal aborts, the promise is rejected as soon as the thread touches no file any more. The thread may take
 * seconds to end.
 *
 * @throws what the task throws; the signal's reason
 */
export async function inThread<T extends Task>(
  { module, task, input }: Job<T>,
  { signal, onRead }: JobOptions,
): Promise<Awaited<ReturnType<T>>> {
  signal?.throwIfAborted();
  const worker = takeIdle() ?? newThread();
  worker.ref();
  const gate = new Gate();
  let abort: (() => void) | undefined;
  try {
    const result = await new Promise<unknown>((resolve, reject) => {
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
      worker.postMessage({ module: module.href, task, input, gate: gate.shared } satisfies JobMessage);
    });
    keep(worker);
    return result as Awaited<ReturnType<T>>;
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
    if (count !== undefined) returnAll(count);
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
