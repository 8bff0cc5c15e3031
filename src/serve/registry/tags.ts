import { jsonAnswer } from '../request.js';
import { expectRead } from './blobs.js';
import { refusal } from './refusals.js';
import type { RepositoryHandler } from './registry.js';

/** distribution-spec, "Listing Tags": in ASCII order, in pages when the client asks for pages. */
export const answerTags: RepositoryHandler = async ({ store }, request, repository) => {
  expectRead(request, repository);
  const count = request.query.get('n');
  if (count !== null && !/^\d{1,9}$/.test(count)) throw refusal(400, 'UNSUPPORTED', 'n= takes a whole number');
  const all = await store.tags(repository);
  if (all === undefined) throw refusal(404, 'NAME_UNKNOWN', 'there is no such repository');
  const last = request.query.get('last');
  const after = last === null || last === '' ? all : all.filter((tag) => tag > last);
  const tags = count === null ? after : after.slice(0, Number(count));
  const end = tags.at(-1);
  const isMore = end !== undefined && tags.length < after.length;
  const next = new URLSearchParams({ n: count ?? '', last: end ?? '' });
  const link = `</v2/${repository}/tags/list?${next.toString()}>; rel="next"`;
  return { ...jsonAnswer(200, { name: repository, tags }, isMore ? { link } : {}), found: true };
};
