import type { OnProgress, ProgressEvent } from './progress.js';

/** Counts the layers that are written to a target: they stay where an export fails, and the next export finds them. */
export class WrittenLayers {
  readonly #onProgress: OnProgress;
  #layers = 0;
  #bytes = 0;

  constructor(onProgress: OnProgress) {
    this.#onProgress = onProgress;
  }

  /** Counts an event, and passes it on. */
  readonly onProgress = (event: ProgressEvent): void => {
    if (event.type === 'layer' && (event.action === 'copied' || event.action === 'converted')) {
      this.#layers++;
      this.#bytes += event.to.size;
    }
    this.#onProgress?.(event);
  };

  /** Tells what stays of a failed export. */
  tell(target: string): void {
    if (this.#layers > 0) this.#onProgress?.({ type: 'kept', target, layers: this.#layers, bytes: this.#bytes });
  }
}
