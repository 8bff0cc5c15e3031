import type { Content } from '../oci/content.js';
import type { Job, Task } from './jobs.js';
import type { JobOptions } from './thread.js';

/** In bytes: a blob of fewer is done in the main thread before another thread has started. */
const WORTH_A_THREAD = 1024 * 1024;

/** Content that is a file. */
export type FileContent = Content & Required<Pick<Content, 'openFile'>>;

/** Whether content is a file, and so large that a thread of its own is worth it. */
export function isLargeFile(content: Content, size: number): content is FileContent {
  return content.openFile !== undefined && size >= WORTH_A_THREAD;
}

/**
 * Does a task with the file of some content in another thread.
 *
 * @param job - makes the job for a file descriptor, which is closed when the job has ended
 * @throws what the task throws; the signal's reason
 */
export async function withFile<T extends Task>(
  content: FileContent,
  job: (file: number) => Job<T>,
  signal: AbortSignal | undefined,
): Promise<Awaited<ReturnType<T>>> {
  await using handle = await content.openFile();
  const { inThread } = await import('./thread.js');
  const options: JobOptions = { signal, onRead: content.onRead };
  return await inThread(job(handle.fd), options);
}
