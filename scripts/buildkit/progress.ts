/** A step of a Dockerfile, as a build with `--progress=plain` reports it. */
export interface Step {
  /** `[stage 1/2] COPY . .` */
  readonly name: string;
  readonly cached: boolean;
}

/** A layer on its way from a registry, or being unpacked. */
const TRANSFER = /^(?:extracting )?sha256:[0-9a-f]{64}/;

/**
 * The steps in the output of `docker buildx build --progress=plain`. Loading the context, importing and exporting caches
 * are no steps. A step is CACHED when BuildKit says so; one that it ran, or gave up, is not. From a registry it fetches
 * layers late, and then says only that it fetched them: that counts too, and the comparison of the images sees to it
 * that it is the layers of the first build that were fetched.
 */
export function stepsOf(output: string): Step[] {
  const names = new Map<string, string>();
  const cached = new Set<string>();
  const fetched = new Set<string>();
  const busy = new Set<string>();
  for (const line of output.split('\n')) {
    const [, vertex, text] = /^#(\d+) (.*)$/.exec(line) ?? [];
    if (vertex === undefined || text === undefined) continue;
    if (!names.has(vertex)) names.set(vertex, text);
    if (text === 'CACHED') cached.add(vertex);
    else if (TRANSFER.test(text)) fetched.add(vertex);
    else if (text !== names.get(vertex) && !text.startsWith('DONE ')) busy.add(vertex);
  }
  return [...names]
    .filter(([, name]) => name.startsWith('[') && !name.startsWith('[internal]'))
    .map(([vertex, name]) => ({ name, cached: cached.has(vertex) || (fetched.has(vertex) && !busy.has(vertex)) }));
}
