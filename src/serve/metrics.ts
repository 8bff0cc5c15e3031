import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** How old the size of the store may be, in milliseconds: finding it out takes a look at each blob. */
const SIZE_AGE = 60_000;

/** What the metrics ask of a server when they are read. */
export interface MetricsSources {
  /** The bytes of all blobs. */
  storeSize(): Promise<number>;
  openUploads(): number;
  connections(): number;
}

/** One request, as the metrics count it. */
export interface Counted {
  readonly method: string;
  readonly kind: string;
  readonly status: number;
  /** In seconds. */
  readonly duration: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly found: boolean | undefined;
}

const METHODS = new Set(['GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE']);

/** Metrics in the text format of Prometheus. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'method' | 'kind' | 'status'>;
  readonly #durations: Histogram<'kind'>;
  readonly #bytes: Counter<'direction'>;
  readonly #lookUps: Counter<'kind' | 'result'>;
  #sources: MetricsSources | undefined;
  #size: { readonly bytes: number; readonly at: number } | undefined;
  #measuring: Promise<void> | undefined;

  constructor() {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#requests = new Counter({
      name: 'bkcache_requests_total',
      help: 'Requests that were answered',
      labelNames: ['method', 'kind', 'status'],
      registers,
    });
    this.#durations = new Histogram({
      name: 'bkcache_request_duration_seconds',
      help: 'Time from a request to the end of its answer',
      labelNames: ['kind'],
      buckets: [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600],
      registers,
    });
    this.#bytes = new Counter({
      name: 'bkcache_bytes_total',
      help: 'Bytes of bodies',
      labelNames: ['direction'],
      registers,
    });
    this.#lookUps = new Counter({
      name: 'bkcache_lookups_total',
      help: 'Requests for a blob, manifest or cache, by whether it was there',
      labelNames: ['kind', 'result'],
      registers,
    });
    this.#gauge('bkcache_open_uploads', 'Uploads that are open', (sources) => sources.openUploads());
    this.#gauge('bkcache_connections', 'Connections that are open', (sources) => sources.connections());
    this.#gauge('bkcache_store_bytes', 'Bytes of all blobs, at most some minutes old', () => this.#size?.bytes);
  }

  /** Where the values come from that are not counted. */
  from(sources: MetricsSources): void {
    this.#sources = sources;
  }

  count({ method, kind, status, duration, bytesIn, bytesOut, found }: Counted): void {
    this.#requests.inc({ method: METHODS.has(method) ? method : 'other', kind, status: `${status}` });
    this.#durations.observe({ kind }, duration);
    this.#bytes.inc({ direction: 'in' }, bytesIn);
    this.#bytes.inc({ direction: 'out' }, bytesOut);
    const isMiss = status === 404 && (method === 'GET' || method === 'HEAD');
    if (found === true) this.#lookUps.inc({ kind, result: 'hit' });
    else if (found === false || (isMiss && (kind === 'blobs' || kind === 'manifests'))) {
      this.#lookUps.inc({ kind, result: 'miss' });
    }
  }

  async page(): Promise<{ readonly text: string; readonly contentType: string }> {
    this.#measure();
    return { text: await this.#registry.metrics(), contentType: this.#registry.contentType };
  }

  /** Measures the store beside the request: the next page has the new size. */
  #measure(): void {
    if (this.#measuring !== undefined || Date.now() - (this.#size?.at ?? 0) < SIZE_AGE) return;
    this.#measuring = (this.#sources?.storeSize() ?? Promise.resolve(0))
      .then((bytes) => void (this.#size = { bytes, at: Date.now() }))
      // A store that cannot be listed has no size; requests tell what is wrong.
      .catch(() => undefined)
      .finally(() => (this.#measuring = undefined));
  }

  #gauge(name: string, help: string, value: (sources: MetricsSources) => number | undefined): void {
    const sources = () => this.#sources;
    const gauge = new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect() {
        const from = sources();
        const now = from && value(from);
        if (now !== undefined) gauge.set(now);
      },
    });
  }
}
