import type { ProgressEvent } from './transfer.js';

type OnProgress = ((event: ProgressEvent) => void) | undefined;

/** Counts the layers that are brought to a target: where an export fails after all, they stay, and the next one finds them. */
export class Brought {
  #layers = 0;
  #bytes = 0;

  /** Passes events on. */
  counting(onProgress: OnProgress): (event: ProgressEvent) => void {
    return (event) => {
      const isBrought = event.type === 'layer' && (event.action === 'copied' || event.action === 'converted');
      if (isBrought) {
        this.#layers++;
        this.#bytes += event.to.size;
      }
      onProgress?.(event);
    };
  }

  /** Tells of a failed export what stays of it. */
  tell(target: string, onProgress: OnProgress): void {
    if (this.#layers > 0) onProgress?.({ type: 'kept', target, layers: this.#layers, bytes: this.#bytes });
  }
}
