import prettyBytes from 'pretty-bytes';
import type { TouchResult } from '../../backend/cache-store.js';
import { escapedLines } from './control-characters.js';
import { quantity, requestsText } from './phrases.js';

/** The result of touch as text. */
export function touchText(result: TouchResult, dryRun: boolean): string {
  const { touched, young, names, missing, refused, unread, requests } = result;
  const would = dryRun ? 'would be ' : '';
  const lines = [
    `${would}touched: ${prettyBytes(touched.bytes)} in ${quantity(touched.count, 'blob')}`,
    ...(names === 0 ? [] : [`${would}touched: ${quantity(names, 'name')}`]),
    `young already: ${prettyBytes(young.bytes)} in ${quantity(young.count, 'blob')}`,
    ...missing.map((at) => `missing: ${at}: "bkcache verify" says which caches need it`),
    ...refused.map((at) => `not touched: ${at}: the service does not make it young`),
    ...unread.map(({ name, reason }) => `not read: ${name}: ${reason}`),
    ...(requests === undefined ? [] : [requestsText(requests)]),
  ];
  return escapedLines(lines);
}
