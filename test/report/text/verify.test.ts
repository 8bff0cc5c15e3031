import test from 'ava';
import { verifyText } from '../../../src/report/text/verify.js';

test('what is empty is shown as that, and not as nothing', (t) => {
  const text = verifyText({
    target: './cache',
    sound: false,
    findings: [
      {
        severity: 'corrupt',
        kind: 'document',
        effect: 'build-fails',
        message: 'a layer is not of the media type that its manifest says',
        tags: ['latest'],
        expected: '',
        found: 'gzip bytes',
      },
    ],
    tags: 1,
    blobs: 1,
    read: 1,
    bytesRead: 3,
  });
  t.true(text.includes('\n  expected: (empty)\n  found: gzip bytes\n'));
});
