/** The shortest secret that is searched for, in characters: a shorter secret occurs in many texts by chance. */
const SHORTEST = 4;
/** How many characters in a row of a long secret, such as a token, must not be shown. */
const PART = 16;

/** The secrets that were sent to servers. Messages must not show them when a response repeats them. */
export class Secrets {
  readonly #parts = new Set<string>();

  add(secret: string | Uint8Array | undefined): void {
    if (secret === undefined || secret.length < SHORTEST) return;
    const bytes = Buffer.from(secret);
    for (const text of new Set([bytes.toString(), bytes.toString('latin1')])) this.#addText(text);
  }

  #addText(text: string): void {
    // A response may repeat a secret as JSON or as part of a URL.
    for (const form of [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text)]) {
      if (form.length < PART) this.#parts.add(form);
      // Every substring of twice this length contains one of these parts.
      for (let at = 0; at + PART <= form.length; at += PART) this.#parts.add(form.slice(at, at + PART));
    }
  }

  /** Whether a text contains a secret, or a long part of a secret. */
  isIn(text: string): boolean {
    return [...this.#parts].some((part) => text.includes(part));
  }
}
