/** How much text is collected before it is written, in characters. */
const AT_ONCE = 64 * 1024;

/** Lines for stdout that may be many: they are written in large pieces. */
export class LongOutput implements Disposable {
  #text = '';

  write(text: string): void {
    this.#text += text;
    if (this.#text.length >= AT_ONCE) this.flush();
  }

  flush(): void {
    if (this.#text !== '') process.stdout.write(this.#text);
    this.#text = '';
  }

  [Symbol.dispose](): void {
    this.flush();
  }
}

/** Whether the reader of stdout has gone, such as `head`: nobody waits for more. */
export function isReaderGone(): boolean {
  return process.stdout.errored !== null || process.stdout.destroyed;
}
