import { valueTexts } from '../../oci/json-edit.js';
import type { JsonEdit } from '../../oci/json-edit.js';
import { JsonText } from '../../oci/json.js';
import type { Image } from './image.js';

/** What is said of a layer that an image's history says nothing of: image-spec config.md, `history`. */
const ADDED = '{"comment":"added by bkcache, since BuildKit needs an entry for each layer"}';

/** How many entries the history of an image lacks: BuildKit looks for one for each layer. */
export function missingHistory({ layers, content }: Image): number {
  return Math.max(0, layers.length - content.history.length);
}

/** What fills the history in, with entries behind those that are there: the lowest layers are described first. */
export function historyEdits(image: Image): JsonEdit[] {
  const count = missingHistory(image);
  if (count === 0) return [];
  const text = Buffer.from(image.config.bytes).toString('latin1');
  // Go finds a field in any case, and takes the last.
  const member = valueTexts(text).findLast(([key]) => String(key).toLowerCase() === 'history');
  const entries = valueTexts(member?.[1] ?? '').map(([, entry]) => entry);
  const filled = [...entries, ...Array.from({ length: count }, () => ADDED)];
  return [{ path: [member?.[0] ?? 'history'], value: new JsonText(`[${filled.join(',')}]`) }];
}
