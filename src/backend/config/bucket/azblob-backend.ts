import type { CacheOptions } from '../../../buildkit/options.js';
import { CacheError, type Side } from '../../../errors.js';
import type { Session } from '../../../session.js';
import type { Backend } from '../../backend.js';
import type { AzblobSettings } from './azblob-client.js';
import { azblobKeys, manifestKey, withName } from './bucket-keys.js';
import type { ObjectStore } from './object-store.js';

/** How many blobs are sent at once. BuildKit sends one after the other. */
const UPLOADS = 4;

/** cache/remotecache/azblob/utils.go, createContainerClient: a key of the account, or an identity. */
const NO_SAS = {
  message: 'BuildKit takes no SAS in account_url=',
  hint: 'give secret_access_key=, or BuildKit an identity',
};

/** A cache in a container of Azure Blob Storage: `type=azblob,account_url=…`. */
export const azblobBackend: Backend = {
  async locate(options) {
    const { accountUrl, container, sas } = azblobSettings(options);
    const keys = azblobKeys(options);
    const selection = keys.names.join(';');
    const at = `${accountUrl}/${container}/`;
    const key = keys.names.map((name) => manifestKey(keys, name)).join(';');
    const location = { options, name: `${at}${keys.manifests}${selection}`, selection, key: `${at}${key}` };
    return sas === undefined ? location : { ...location, unread: NO_SAS };
  },
  async source(at, session) {
    const { bucketSource } = await import('./bucket-source.js');
    const store = await openStore(at.options, session, 'import');
    return bucketSource(store, azblobKeys(at.options), (text) => session.note(text));
  },
  async target(at, session) {
    if (session.layout.heal) {
      throw new CacheError('USAGE', '--heal replaces blobs in folders, and not in containers', {
        hint: 'leave --heal out; delete a damaged blob, and copy the cache again',
        side: 'export',
      });
    }
    const { BucketTarget } = await import('./bucket-target.js');
    const store = await openStore(at.options, session, 'export');
    return new BucketTarget(store, azblobKeys(at.options), {
      name: at.name,
      uploads: UPLOADS,
      touchRefresh: undefined,
    });
  },
  tagged: withName,
  async store(at, session) {
    const { bucketStore } = await import('./bucket-store.js');
    return bucketStore(await openStore(at.options, session, 'import'), azblobKeys, at.options);
  },
};

async function openStore(options: CacheOptions, session: Session, side: Side): Promise<ObjectStore> {
  const [{ AzblobConnection }, { azblobStore }] = await Promise.all([
    import('./azblob-connection.js'),
    import('./azblob.js'),
  ]);
  const http = await session.http({ verify: true });
  return azblobStore(new AzblobConnection(azblobSettings(options), http, side, session.retryPolicy));
}

/**
 * The attributes with the defaults of cache/remotecache/azblob/utils.go, getConfig.
 *
 * @throws CacheError USAGE for an address, a name or a key that is none
 */
export function azblobSettings({ attributes }: CacheOptions): AzblobSettings {
  const { account_url: url = '', container = 'buildkit-cache', secret_access_key: key } = attributes;
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new CacheError('USAGE', 'account_url= is not an address', {
      hint: 'it looks like https://ACCOUNT.blob.core.windows.net',
    });
  }
  const { protocol, hostname, origin, pathname, search, username, password } = new URL(url);
  if (username !== '' || password !== '') {
    throw new CacheError('USAGE', 'account_url= has a user or a password, which Azure does not know', {
      hint: 'give secret_access_key=, or a SAS behind "?"',
    });
  }
  if (hostname.endsWith('.blob.core.windows.net') && /[^/]/.test(pathname)) {
    throw new CacheError('USAGE', 'account_url= has a path, and the address of an account has none', {
      hint: 'the container belongs into container=, and folders in it into prefix=',
    });
  }
  const { account_name: accountName = hostname.split('.')[0] ?? '' } = attributes;
  if (!/^(?:\$root|\$web|\$logs|[a-z0-9](?:-?[a-z0-9]){2,62})$/.test(container) || container.length > 63) {
    throw new CacheError('USAGE', `container=${container} is not the name of a container`, {
      hint: 'it has 3 to 63 lower-case letters, digits and single dashes',
    });
  }
  if (key !== undefined && !isBase64(key)) {
    throw new CacheError('USAGE', 'secret_access_key= is not a key of an account', {
      hint: 'such a key is base64, as "az storage account keys list" shows it; a SAS belongs behind "?" in account_url=',
    });
  }
  const sas = key === undefined && /[?&]sig=/.test(search) ? search.slice(1) : undefined;
  if (key === undefined && sas === undefined && protocol === 'http:') {
    throw new CacheError('USAGE', 'account_url= is plain HTTP, over which no identity is sent', {
      hint: 'use https, or give secret_access_key= or a SAS',
    });
  }
  return { accountUrl: `${origin}${pathname.replace(/\/+$/, '')}`, accountName, container, key, sas };
}

function isBase64(text: string): boolean {
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) && text.length % 4 === 0;
}
