import { valueTexts } from '../../oci/json-edit.js';
import type { JsonEdit } from '../../oci/json-edit.js';
import { JsonText } from '../../oci/json.js';
import type { Image } from './image.js';

/** The entry that is added for a layer without a history entry: image-spec config.md, `history`. */
const ADDED = '{"comment":"added by bkcache, since BuildKit needs an entry for each layer"}';

/** How many history entries an image lacks: BuildKit needs an entry for each layer. */
export function missingHistory({ layers, content }: Image): number {
  return Math.max(0, layers.length - content.history.length);
}

/** The edits that append the missing history entries: existing entries describe the lowest layers. */
export function historyEdits(image: Image): JsonEdit[] {
  const count = missingHistory(image);
  if (count === 0) return [];
  const text = Buffer.from(image.config.bytes).toString('latin1');
  // Go matches a field name in any case, and the last of several counts.
  const member = valueTexts(text).findLast(([key]) => String(key).toLowerCase() === 'history');
  const entries = valueTexts(member?.[1] ?? '').map(([, entry]) => entry);
  const filled = [...entries, ...Array.from({ length: count }, () => ADDED)];
  return [{ path: [member?.[0] ?? 'history'], value: new JsonText(`[${filled.join(',')}]`) }];
}
