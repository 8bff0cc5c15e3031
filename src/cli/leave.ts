/**
 * Lets the process end at once although threads are still ending, or are in a call that does not return, for which Node
 * would wait: what was begun has been taken back.
 */
export async function leaveAtOnce(): Promise<void> {
  const { default: koffi } = await import('koffi');
  const exit = koffi.load(null).func('void _exit(int status)') as (status: number) => void;
  process.once('exit', exit);
}
