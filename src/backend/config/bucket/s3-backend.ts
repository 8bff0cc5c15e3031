import { type CacheOptions, flag } from '../../../buildkit/options.js';
import { parseGoDuration } from '../../../buildkit/values.js';
import { CacheError, type Side } from '../../../errors.js';
import type { Session } from '../../../session.js';
import type { Backend } from '../../backend.js';
import { s3Keys, TOUCH_REFRESH, withName } from './bucket-keys.js';
import type { ObjectStore } from './object-store.js';
import type { S3Settings } from './s3-connection.js';

/** cache/remotecache/s3/s3.go, getConfig. */
const UPLOADS = 4;

/** A cache in a bucket of S3: `type=s3,bucket=…,region=…`. */
export const s3Backend: Backend = {
  async locate(options) {
    const { bucket, endpoint } = s3Settings(options);
    const { names, manifests } = s3Keys(options);
    const selection = names.join(';');
    const name = `s3://${bucket}/${manifests}${selection}`;
    const host = endpoint === undefined ? '' : ` at ${new URL(endpoint).host}`;
    return { options, name, selection, key: `${name}${host}` };
  },
  async source(at, session) {
    const { bucketSource } = await import('./bucket-source.js');
    return bucketSource(await openStore(at.options, session, 'import'), s3Keys(at.options));
  },
  async target(at, session) {
    if (session.layout.heal) {
      throw new CacheError('USAGE', '--heal replaces blobs in folders, and not in buckets', {
        hint: 'leave --heal out; delete a damaged object, and copy the cache again',
        side: 'export',
      });
    }
    const { upload_parallelism: uploads = UPLOADS, touch_refresh: refresh = '' } = at.options.attributes;
    const { BucketTarget } = await import('./bucket-target.js');
    return new BucketTarget(await openStore(at.options, session, 'export'), s3Keys(at.options), {
      name: at.name,
      uploads: Number(uploads),
      touchRefresh: parseGoDuration(refresh) ?? TOUCH_REFRESH,
    });
  },
  tagged: withName,
  async store(at, session) {
    const { bucketStore } = await import('./bucket-store.js');
    return bucketStore(await openStore(at.options, session, 'import'), s3Keys, at.options);
  },
};

async function openStore(options: CacheOptions, session: Session, side: Side): Promise<ObjectStore> {
  const [{ S3Connection }, { s3Store }] = await Promise.all([import('./s3-connection.js'), import('./s3.js')]);
  const http = await session.http({ verify: true });
  return s3Store(new S3Connection(s3Settings(options), http, side, session.retryPolicy));
}

/** @throws CacheError USAGE for an endpoint that is no address */
function s3Settings(options: CacheOptions): S3Settings {
  const { bucket = '', region = '', endpoint_url: endpoint = '', retry_max_attempts: attempts } = options.attributes;
  const { access_key_id: id, secret_access_key: secret, session_token: token, retry_mode: mode } = options.attributes;
  if (endpoint !== '' && !(/^https?:\/\//.test(endpoint) && URL.canParse(endpoint))) {
    throw new CacheError('USAGE', 'endpoint_url= is not an address', { hint: 'it looks like https://s3.example.com' });
  }
  // The official client's own errors for these say neither the attribute nor what helps.
  if (/[/\s?#]/.test(bucket)) {
    throw new CacheError('USAGE', `bucket=${bucket} is not the name of a bucket`, {
      hint: 'what follows the name belongs into prefix=, with a "/" at its end; an address into endpoint_url=',
    });
  }
  if (!/^[\w-]+$/.test(region)) {
    throw new CacheError('USAGE', `region=${region} is not a region`, { hint: 'it looks like eu-west-3, or auto' });
  }
  if (endpoint !== '' && /[@?#]/.test(endpoint)) {
    throw new CacheError('USAGE', 'endpoint_url= has more than an address', {
      hint: 'keys are given in access_key_id= and secret_access_key=, or by the environment',
    });
  }
  return {
    bucket,
    region,
    endpoint: endpoint === '' ? undefined : endpoint,
    pathStyle: flag(options, 'use_path_style') === true,
    keys:
      id === undefined || secret === undefined
        ? undefined
        : { accessKeyId: id, secretAccessKey: secret, ...(token === undefined ? {} : { sessionToken: token }) },
    attempts: attempts === undefined ? undefined : Number(attempts),
    adaptive: mode === 'adaptive',
  };
}
