import test from 'ava';
import { nextLink } from '../../../src/net/registry/link.js';

test('the next page is found in every form of a Link', (t) => {
  for (const [header, expected] of [
    ['</v2/x?last=a>; rel="next"', '/v2/x?last=a'],
    ['</v2/x>;rel=next', '/v2/x'],
    ['</v2/x>; title="a; b, c"; rel="next"', '/v2/x'],
    ['</v2/x>; n=2; REL="prev next"', '/v2/x'],
    ['</first>; rel="first", </v2/x>; rel="next"', '/v2/x'],
    ['</v2/x,y;z>; rel=next', '/v2/x,y;z'],
    ['</first>; rel="first"', undefined],
    ['</x>; title="rel=next"', undefined],
    ['', undefined],
    [undefined, undefined],
  ] as const) {
    t.is(nextLink(header), expected, header);
  }
});
