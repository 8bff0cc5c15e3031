/** A step of a Dockerfile, as a build with `--progress=rawjson` reports it. */
export interface Step {
  /** `[stage 1/2] COPY . .` */
  readonly name: string;
  /**
   * Whether its result was taken from a cache, and it was not run. BuildKit says so, too, of a step whose result then fails
   * to load, and runs it: a step that printed something has run.
   */
  readonly cached: boolean;
  /** Whether the step's own command printed something. */
  readonly printed: boolean;
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

/** What the command of a step prints; BuildKit's own messages are no logs. */
interface Log {
  readonly vertex: string;
}

interface Progress {
  readonly vertexes?: readonly Vertex[] | null;
  readonly logs?: readonly Log[] | null;
}

/**
 * The steps in the output of a build with `--progress=rawjson`. Loading the context and base images,
 * importing and exporting caches are no steps.
 *
 * What people read (`--progress=plain`) will not do: it prints how a step stands at the moment, and where BuildKit fetches
 * the layers of a cached step afterwards, it speaks of the step once more, without a word of the cache
 * (util/progress/controller). Such a word has no inputs, by which it is told from one of a step that is run.
 */
export function stepsOf(output: string): Step[] {
  const steps = new Map<string, Vertex[]>();
  const printed = new Set<string>();
  for (const document of documentsOf(output)) {
    const { vertexes, logs } = JSON.parse(document) as Progress;
    for (const { vertex } of logs ?? []) printed.add(vertex);
    for (const vertex of vertexes ?? []) {
      if (isStep(vertex)) steps.set(vertex.digest, [...(steps.get(vertex.digest) ?? []), vertex]);
    }
  }
  return [...steps].map(([digest, said]) => ({
    name: said[0]?.name ?? '',
    cached: said.some(isLoaded) && !said.some(isRun) && !printed.has(digest),
    printed: printed.has(digest),
    said: [...said.map(inWords), ...(printed.has(digest) ? ['printed'] : [])].join(', '),
  }));
}

function isStep({ name, started }: Vertex): boolean {
  return started !== undefined && /^\[(?!internal\])[^\]]*\] (?!FROM )/.test(name);
}

/**
 * The steps whose results were there before this build. A step that is the same for two platforms runs for one of them,
 * and is cached for the other.
 */
export function knownSteps(steps: readonly Step[]): Step[] {
  const ran = new Set(steps.filter(({ cached }) => !cached).map(onAnyPlatform));
  return steps.filter((step) => step.cached && !ran.has(onAnyPlatform(step)));
}

/** `[build 1/2] COPY src /src` of `[linux/amd64 build 1/2] COPY src /src`. */
function onAnyPlatform({ name }: Step): string {
  return name.replace(/^\[linux\/\w+ /, '[');
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
