// Stores what comes on stdin as an object, as a process that can be killed: `s3` or `azblob`, SETTINGS as JSON, KEY, SIZE.
import { azblobStore } from '../../src/backend/config/bucket/azblob.js';
import type { AzblobSettings } from '../../src/backend/config/bucket/azblob-client.js';
import { AzblobConnection } from '../../src/backend/config/bucket/azblob-connection.js';
import { s3Store } from '../../src/backend/config/bucket/s3.js';
import { S3Connection, type S3Settings } from '../../src/backend/config/bucket/s3-connection.js';
import { HttpClient } from '../../src/net/http/http.js';

const [service, text = '', key = '', size = ''] = process.argv.slice(2);
await using http = new HttpClient({ verify: true });
const settings: unknown = JSON.parse(text);
const store =
  service === 's3'
    ? s3Store(new S3Connection(settings as S3Settings, http, 'export', undefined))
    : azblobStore(new AzblobConnection(settings as AzblobSettings, http, 'export', undefined));
await store.put(key, process.stdin as AsyncIterable<Uint8Array>, Number(size));
