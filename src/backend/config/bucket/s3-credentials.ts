/** Keys for requests, some of which run out. */
interface Credentials {
  readonly expiration?: Date | undefined;
}

/** How long before their end credentials are taken again, in milliseconds. */
const BEFORE_END = 5 * 60_000;
/** How long credentials near their end are used before their source is asked again, in milliseconds. */
const PAUSE = 60_000;

/**
 * Keeps credentials, and takes them again before they run out. The official client does that on the side, and ends the
 * process where it fails (memoize-chain.js of @aws-sdk/credential-provider-node); here what is held is used to its end.
 *
 * @param find - asks all sources
 */
export function keptCredentials<T extends Credentials>(find: () => Promise<T>, now = Date.now): () => Promise<T> {
  let held: { readonly credentials: T; readonly until: number; readonly renewAt: number } | undefined;
  let asking: Promise<T> | undefined;
  const ask = async (): Promise<T> => {
    try {
      const credentials = await find();
      const until = credentials.expiration?.getTime() ?? Infinity;
      held = { credentials, until, renewAt: Math.max(until - BEFORE_END, now() + PAUSE) };
      return credentials;
    } catch (error) {
      if (held === undefined || held.until <= now()) throw error;
      held = { ...held, renewAt: now() + PAUSE };
      return held.credentials;
    } finally {
      asking = undefined;
    }
  };
  return () => {
    if (held !== undefined && now() < Math.min(held.renewAt, held.until)) return Promise.resolve(held.credentials);
    asking ??= ask();
    return asking;
  };
}
