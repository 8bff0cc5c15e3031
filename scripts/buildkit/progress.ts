/** A step of a Dockerfile, as a build with `--progress=rawjson` reports it. */
export interface Step {
  /** `[stage 1/2] COPY . .` */
  readonly name: string;
  /** Whether its result was taken from a cache, and it was not run. */
  readonly cached: boolean;
  /** All that BuildKit said of it. */
  readonly said: string;
}

/** What BuildKit says of a step when something happens to it (client/graph.go). */
interface Vertex {
  readonly digest: string;
  readonly name: string;
  readonly inputs?: readonly string[];
  readonly started?: string;
  readonly completed?: string;
  readonly cached?: boolean;
  readonly error?: string;
}

/**
 * The steps in the output of `docker buildx build --progress=rawjson`. Loading the context, importing and exporting caches
 * are no steps.
 *
 * What people read (`--progress=plain`) will not do: it prints how a step stands at the moment, and where BuildKit fetches
 * the layers of a cached step afterwards, it speaks of the step once more, without a word of the cache
 * (util/progress/controller). Such a word has no inputs, by which it is told from one of a step that is run.
 */
export function stepsOf(output: string): Step[] {
  const steps = new Map<string, Vertex[]>();
  for (const vertex of verticesOf(output)) {
    if (!vertex.name.startsWith('[') || vertex.name.startsWith('[internal]') || vertex.started === undefined) continue;
    steps.set(vertex.digest, [...(steps.get(vertex.digest) ?? []), vertex]);
  }
  return [...steps.values()].map((said) => ({
    name: said[0]?.name ?? '',
    cached: said.some(isLoaded) && !said.some(isRun),
    said: said.map(inWords).join(', '),
  }));
}

function isLoaded({ cached = false, completed, error = '' }: Vertex): boolean {
  return cached && completed !== undefined && error === '';
}

function isRun({ cached = false, inputs = [] }: Vertex): boolean {
  return !cached && inputs.length > 0;
}

function inWords(vertex: Vertex): string {
  const { completed, error = '' } = vertex;
  const event = completed === undefined ? 'begins' : `ends${error === '' ? '' : ` with ${error}`}`;
  if (vertex.cached === true) return `cached: ${event}`;
  return `${isRun(vertex) ? 'run' : 'fetched'}: ${event}`;
}

function* verticesOf(output: string): Generator<Vertex, void, undefined> {
  for (const document of documentsOf(output)) {
    const { vertexes } = JSON.parse(document) as { vertexes?: readonly Vertex[] | null };
    yield* vertexes ?? [];
  }
}

/** The JSON documents among other lines, each over several lines, as buildx 0.13 has them, or on one. */
function* documentsOf(output: string): Generator<string, void, undefined> {
  let document = '';
  for (const line of output.split('\n')) {
    if (document === '' && !line.startsWith('{')) continue;
    const isWhole = document === '' ? line.length > 1 : line === '}';
    document += line;
    if (!isWhole) continue;
    yield document;
    document = '';
  }
}
