import type { Content } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';

/**
 * What became of a layer: its bytes were copied or converted, a registry mounted the blob from another of its
 * repositories or a service of objects copied it from another bucket (both count as mounted), the target had the blob already (also as the result of an earlier conversion), or the layer is a foreign
 * one whose bytes no import has.
 */
export type LayerAction = 'copied' | 'converted' | 'mounted' | 'present' | 'foreign';

/** What happens while layers travel. Sizes are in bytes. */
export type ProgressEvent =
  | { readonly type: 'start'; readonly target: string; readonly layers: number; readonly bytes: number }
  | { readonly type: 'bytes'; readonly digest: Digest; readonly bytes: number }
  | { readonly type: 'layer'; readonly action: LayerAction; readonly from: Descriptor; readonly to: Descriptor }
  /** An export failed, or was stopped; these layers are whole at the target, and the next export finds them there. */
  | { readonly type: 'kept'; readonly target: string; readonly layers: number; readonly bytes: number };

export type OnProgress = ((event: ProgressEvent) => void) | undefined;

/** Content that counts what is read of it. */
export interface Metered {
  readonly content: Content;
  /** In bytes. */
  readonly bytesRead: () => number;
}

/**
 * Reports what is read of a layer. Bytes that are read a second time, as from a fallback, are no progress.
 *
 * @returns wraps the content for one reading of the layer
 */
export function meterOf({ digest }: Descriptor, onProgress: OnProgress): (content: Content) => Metered {
  let most = 0;
  return (content) => {
    let read = 0;
    const onRead = (bytes: number) => {
      read += bytes;
      if (read > most) onProgress?.({ type: 'bytes', digest, bytes: read - most });
      most = Math.max(most, read);
    };
    return { content: counted(content, onRead), bytesRead: () => read };
  };
}

/** The same content, which tells how many bytes are read of it. */
function counted(content: Content, onRead: (bytes: number) => void): Content {
  return {
    ...content,
    onRead,
    async *open(range, signal) {
      for await (const chunk of content.open(range, signal)) {
        yield chunk;
        onRead(chunk.length);
      }
    },
  };
}
