import { OCI_INDEX } from '../../oci/media-types.js';
import { jsonAnswer } from '../request.js';
import { digestIn, expectRead } from './blobs.js';
import type { RepositoryHandler } from './registry.js';

/** distribution-spec, "Listing Referrers". */
export const answerReferrers: RepositoryHandler = async ({ store }, request, repository, target) => {
  expectRead(request, repository);
  const subject = digestIn(target);
  const wanted = request.query.get('artifactType');
  const all = await store.referrers(repository, subject);
  const manifests = all
    .filter(({ artifactType }) => wanted === null || artifactType === wanted)
    .map(({ descriptor: { mediaType, size, digest, annotations }, artifactType }) => ({
      mediaType,
      size,
      digest,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(annotations === undefined ? {} : { annotations }),
    }));
  const filtered: Readonly<Record<string, string>> = wanted === null ? {} : { 'oci-filters-applied': 'artifactType' };
  const headers = { 'content-type': OCI_INDEX, ...filtered };
  return jsonAnswer(200, { schemaVersion: 2, mediaType: OCI_INDEX, manifests }, headers);
};
