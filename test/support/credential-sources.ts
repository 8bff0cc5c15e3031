import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { HttpClient, type HttpRequest, type HttpResponse } from '../../src/net/http/http.js';
import { listening } from './servers.js';

/** The services of AWS that give credentials, and those of instances and containers, in one server. */
export interface CredentialSources {
  readonly host: string;
  /** Such as `PUT /latest/api/token`. */
  readonly seen: string[];
  /** How often credentials were given; the first ones have the id `ASIA1`. */
  readonly given: () => number;
}

/** @param lasts - how long the credentials do, in milliseconds */
export async function startCredentialSources(t: ExecutionContext, lasts = 3_600_000): Promise<CredentialSources> {
  const seen: string[] = [];
  let given = 0;
  const fields = () => {
    given++;
    const end = new Date(Date.now() + lasts);
    return { id: `ASIA${given}`, secret: `secret of source ${given}`, token: `token ${given}`, end };
  };
  const server = createServer((request: IncomingMessage, answer) => {
    const { pathname } = new URL(request.url ?? '/', 'http://x');
    seen.push(`${request.method} ${pathname}`);
    if (pathname === '/latest/api/token') return void answer.end('a token');
    if (pathname === '/latest/meta-data/iam/security-credentials/') return void answer.end('role');
    const { id, secret, token, end } = fields();
    const plain = { AccessKeyId: id, SecretAccessKey: secret, Token: token, Expiration: end.toISOString() };
    if (pathname === '/latest/meta-data/iam/security-credentials/role' || pathname === '/container') {
      return void answer.end(JSON.stringify({ Code: 'Success', ...plain }));
    }
    if (pathname === '/federation/credentials') {
      const roleCredentials = { accessKeyId: id, secretAccessKey: secret, sessionToken: token, expiration: +end };
      return void answer
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ roleCredentials }));
    }
    answer.writeHead(200, { 'content-type': 'text/xml' });
    answer.end(
      `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>${id}</AccessKeyId><SecretAccessKey>${secret}</SecretAccessKey><SessionToken>${token}</SessionToken><Expiration>${end.toISOString()}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
    );
  });
  const host = await listening(t, server);
  t.teardown(() => server.closeAllConnections());
  return { host, seen, given: () => given };
}

/** The connections of an operation, of which those to AWS lead to this machine: what takes others is not seen. */
export class RoutedHttp extends HttpClient {
  /** The hosts that were asked for. */
  readonly hosts: string[] = [];
  readonly #to: string;

  /** @param to - a host, and a folder there */
  constructor(to: string) {
    super({ verify: true });
    this.#to = to;
  }

  override send(request: HttpRequest): Promise<HttpResponse> {
    const { url, path: asSigned = `${url.pathname}${url.search}` } = request;
    this.hosts.push(url.hostname);
    if (!url.hostname.endsWith('amazonaws.com')) return super.send(request);
    const target = new URL(`http://${this.#to}`);
    const path = `${target.pathname.replace(/\/$/, '')}${asSigned}`;
    return super.send({ ...request, url: new URL(path, target), path });
  }
}

/** Writes the files of a user of AWS's tools. @returns the variables that lead to them */
export function userOfAws(home: string, { config = '', credentials = '' }: Record<string, string>): NodeJS.ProcessEnv {
  mkdirSync(join(home, '.aws'), { recursive: true });
  writeFileSync(join(home, '.aws/config'), config);
  writeFileSync(join(home, '.aws/credentials'), credentials);
  return {
    HOME: home,
    AWS_CONFIG_FILE: join(home, '.aws/config'),
    AWS_SHARED_CREDENTIALS_FILE: join(home, '.aws/credentials'),
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}

/** Logs a user in with SSO, as `aws sso login` does. */
export function loginWithSso(home: string, startUrl: string, until: Date): void {
  const cache = join(home, '.aws/sso/cache');
  mkdirSync(cache, { recursive: true });
  const file = `${createHash('sha1').update(startUrl).digest('hex')}.json`;
  const token = { startUrl, region: 'us-east-1', accessToken: 'token of the login', expiresAt: until.toISOString() };
  writeFileSync(join(cache, file), JSON.stringify(token));
}
