/** A step of a Dockerfile, as a build with `--progress=plain` reports it. */
export interface Step {
  /** `[stage 1/2] COPY . .` */
  readonly name: string;
  readonly cached: boolean;
}

/**
 * The steps in the output of `docker buildx build --progress=plain`. Loading the context, importing and exporting caches
 * are no steps. A step is CACHED only when BuildKit says so; one that it ran, or gave up, is not.
 */
export function stepsOf(output: string): Step[] {
  const names = new Map<string, string>();
  const cached = new Set<string>();
  for (const line of output.split('\n')) {
    const [, vertex, text] = /^#(\d+) (.*)$/.exec(line) ?? [];
    if (vertex === undefined || text === undefined) continue;
    if (!names.has(vertex)) names.set(vertex, text);
    if (text === 'CACHED') cached.add(vertex);
  }
  return [...names]
    .filter(([, name]) => name.startsWith('[') && !name.startsWith('[internal]'))
    .map(([vertex, name]) => ({ name, cached: cached.has(vertex) }));
}
