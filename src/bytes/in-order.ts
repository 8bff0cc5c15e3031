/**
 * Runs a task for each item, several at once, and gives the results in the order of the items.
 *
 * @param ahead - how many tasks may be under way; memory is bounded by that
 */
export async function* inOrder<T, R>(
  items: AsyncIterable<T>,
  ahead: number,
  task: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const running: Promise<R>[] = [];
  for await (const item of items) {
    const result = task(item);
    // It is awaited in its turn; until then a failure of a later one must not count as unhandled.
    result.catch(() => undefined);
    running.push(result);
    const first = running.length >= ahead ? running.shift() : undefined;
    if (first !== undefined) yield await first;
  }
  for (const result of running) yield await result;
}
