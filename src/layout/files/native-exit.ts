/**
 * `_exit(2)`, once koffi is loaded. koffi syncs stdout and stderr when a process ends, again and again where the disk
 * fails, so that the process never ends; and Node waits for threads that are stuck in a system call.
 */
export const native: { exit?: (status: number) => void } = {};
