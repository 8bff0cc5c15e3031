/** How much of something scarce is in use: by all threads of the process together, and by one of them. */
export interface SharedCount {
  readonly all: SharedArrayBuffer;
  readonly own: SharedArrayBuffer;
}

const counter = () => new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);

let all = new Int32Array(counter());
let own = new Int32Array(counter());

/** The count of a thread that is about to be started. */
export function countForThread(): SharedCount {
  return { all: all.buffer, own: counter() };
}

/** Has this thread use the count that was made for it. */
export function useCount(count: SharedCount): void {
  all = new Int32Array(count.all);
  own = new Int32Array(count.own);
}

/** Returns what a thread had in use when it ended. */
export function returnAll(count: SharedCount): void {
  Atomics.sub(all, 0, Atomics.exchange(new Int32Array(count.own), 0, 0));
}

/**
 * Takes some units, if all threads together have no more than `most` in use then.
 *
 * @returns a function that returns the units; undefined where too many are in use
 */
export function tryTake(units: number, most: number): (() => void) | undefined {
  for (;;) {
    const inUse = Atomics.load(all, 0);
    if (inUse + units > most) return undefined;
    if (Atomics.compareExchange(all, 0, inUse, inUse + units) === inUse) break;
  }
  Atomics.add(own, 0, units);
  let isTaken = true;
  return () => {
    if (!isTaken) return;
    isTaken = false;
    Atomics.sub(own, 0, units);
    Atomics.sub(all, 0, units);
  };
}
