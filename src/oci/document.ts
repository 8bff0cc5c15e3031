import type { Descriptor } from './descriptor.js';
import { sha256 } from './digest.js';

/** A manifest or config in memory, and what names it. */
export interface Document {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** Bytes with the descriptor that names them. */
export function documentOf(mediaType: string, bytes: Uint8Array): Document {
  return { descriptor: { mediaType, digest: sha256(bytes), size: bytes.length }, bytes };
}

/** Documents in the order of writing: a document comes after those that it names, and the last names the whole. */
export type OrderedDocuments = readonly [...Document[], Document];

/** The last document, which a tag or an entry of an index names. */
export function topOf(documents: OrderedDocuments): Document {
  return documents.reduce((_, document) => document);
}
