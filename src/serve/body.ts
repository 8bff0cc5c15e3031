import type { IncomingMessage, ServerResponse } from 'node:http';
import { ClientGone } from './request.js';

/** The body of a request. While its bytes are waited for, and only then, the client may not stand still. */
export class Body implements AsyncIterable<Uint8Array> {
  readonly #incoming: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #stall: number;
  readonly #expectsContinue: boolean;
  #isRead = false;
  #size = 0;

  /**
   * @param stall - how long the client may stand still, in milliseconds
   * @param expectsContinue - whether the client waits to be asked for the body
   */
  constructor(
    incoming: IncomingMessage,
    response: ServerResponse,
    { stall, expectsContinue }: { readonly stall: number; readonly expectsContinue: boolean },
  ) {
    this.#incoming = incoming;
    this.#response = response;
    this.#stall = stall;
    this.#expectsContinue = expectsContinue;
  }

  /** How much has come, in bytes. */
  get size(): number {
    return this.#size;
  }

  /** Whether the client waits to be asked for a body that nobody wants: its connection cannot be used again. */
  get isUnwanted(): boolean {
    return this.#expectsContinue && !this.#isRead;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const { socket } = this.#incoming;
    if (this.#expectsContinue && !this.#isRead) this.#response.writeContinue();
    this.#isRead = true;
    socket.setTimeout(this.#stall);
    try {
      // The connection stays open for the answer, also when the rest is not wanted.
      for await (const chunk of this.#incoming.iterator({ destroyOnReturn: false })) {
        socket.setTimeout(0);
        const bytes = chunk as Uint8Array;
        this.#size += bytes.length;
        yield bytes;
        socket.setTimeout(this.#stall);
      }
    } catch (cause) {
      // Node ends a body early only when its connection has ended.
      if (this.#incoming.destroyed) throw new ClientGone('the client went away', { cause });
      throw cause;
    } finally {
      socket.setTimeout(0);
    }
  }
}
