import { CacheError } from '../../errors.js';
import { type Conversion, Conversions, conversionsIn } from '../../layout/blobs/conversions.js';
import { KnownDamaged } from '../../layout/blobs/known-damaged.js';
import type { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import type { Layout } from '../../layout/layout.js';
import type { ConversionMemory, ConversionSource } from '../backend.js';
import { userFile } from '../user-file.js';
import type { Repository } from './repository.js';

/**
 * What layers became in a folder is written down in the folder, and so goes where the folder goes. Others may have
 * written to it: the blob that it names is decompressed, and has to be the layer's tar. That costs less than compressing it.
 */
export function layoutConversions({ root, blobs }: Layout, leased: LeasedBlobs): ConversionMemory {
  const conversions = conversionsIn(root);

  /** The digest of the tar in a blob that was made; undefined when the blob is another than it is said to be. */
  const tarOf = async (
    { to, diffID, estargz }: Conversion,
    limits: ConversionSource['limits'],
    signal: AbortSignal | undefined,
  ) => {
    const { decompress } = await import('../../codec/recompress.js');
    const options = { blob: to, diffID, tocDigest: estargz?.tocDigest, ...limits, where: blobs.path(to.digest) };
    try {
      const { tar, size } = await decompress(blobs.content(to.digest), options, signal);
      return size === (estargz?.uncompressedSize ?? size) ? tar : undefined;
    } catch (error) {
      if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
      // So that the blob is written again, though there is one of its size.
      if (error.code === 'CORRUPT') await new KnownDamaged(root).add(to.digest);
      return undefined;
    }
  };

  return {
    async find(source, encoder, signal) {
      const known = await conversions.find(source.blob, encoder);
      if (known === undefined || !(await leased.has(known.to, signal))) return undefined;
      const tar = await tarOf(known, source.limits, signal);
      return tar !== undefined && tar === (source.tar ?? (await source.readTar())) ? known : undefined;
    },
    add: (conversion) => conversions.add(conversion),
  };
}

/**
 * What layers became in registries is written down among the user's own caches. Checking a registry's
 * blobs would mean fetching them, so only this user may write the file.
 *
 * @param present - which of some blobs the registry has
 */
export function registryConversions(
  present: Repository['present'],
  env: NodeJS.ProcessEnv = process.env,
): ConversionMemory | undefined {
  const path = userFile('bkcache-conversions', env);
  if (path === undefined) return undefined;
  const conversions = new Conversions(path, { isPrivate: true });
  return {
    async find({ blob, tar }, encoder, signal) {
      const known = await conversions.find(blob, encoder);
      if (known === undefined) return undefined;
      const isOther = known.estargz === undefined && tar !== undefined && tar !== known.diffID;
      return !isOther && (await present([known.to], signal)).has(known.to.digest) ? known : undefined;
    },
    add: (conversion) => conversions.add(conversion),
  };
}
