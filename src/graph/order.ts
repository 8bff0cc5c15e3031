/**
 * Sorts the nodes of a graph so that each node comes after its dependencies; without recursion, since chains can be long.
 *
 * @param needs - the dependencies of a node, each from 0 to count - 1
 * @returns the sorted nodes, and the nodes that are in a loop or depend on a loop
 */
export function dependenciesFirst(
  count: number,
  needs: (node: number) => Iterable<number>,
): { readonly order: readonly number[]; readonly looping: readonly number[] } {
  const dependants: number[][] = Array.from({ length: count }, () => []);
  const open = new Uint32Array(count);
  for (let node = 0; node < count; node++) {
    for (const need of new Set(needs(node))) {
      dependants[need]?.push(node);
      open[node] = (open[node] ?? 0) + 1;
    }
  }
  const order: number[] = [];
  for (let node = 0; node < count; node++) if (open[node] === 0) order.push(node);
  for (let at = 0; at < order.length; at++) {
    for (const dependant of dependants[order[at] ?? 0] ?? []) {
      const left = (open[dependant] ?? 0) - 1;
      open[dependant] = left;
      if (left === 0) order.push(dependant);
    }
  }
  const looping: number[] = [];
  for (let node = 0; node < count; node++) if (open[node] !== 0) looping.push(node);
  return { order, looping };
}
