/** The shortest secret that is looked for, in characters: a shorter one is found in any text. */
const SHORTEST = 4;
/** Of a long secret, such as a token, this many characters in a row give it away. */
const PART = 16;

/** What was sent to servers and must not be shown to anybody, whatever their answers repeat. */
export class Secrets {
  readonly #parts = new Set<string>();

  add(secret: string | Uint8Array | undefined): void {
    if (secret === undefined || secret.length < SHORTEST) return;
    const bytes = Buffer.from(secret);
    for (const text of new Set([bytes.toString(), bytes.toString('latin1')])) this.#addText(text);
  }

  #addText(text: string): void {
    // Answers may have it as JSON, or as part of an address.
    for (const form of [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text)]) {
      if (form.length < PART) this.#parts.add(form);
      // Wherever a part that is twice as long is cut out of it, one of these is in it.
      for (let at = 0; at + PART <= form.length; at += PART) this.#parts.add(form.slice(at, at + PART));
    }
  }

  /** Whether a text has a secret in it, or a good part of one. */
  isIn(text: string): boolean {
    return [...this.#parts].some((part) => text.includes(part));
  }
}
