import { createSign, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { output } from './process.js';

export const SERVICE = 'registry of the tests';
export const ISSUER = 'bkcache tests';

export interface TokenServer {
  readonly realm: string;
  /** The PEM file of the certificate that the tokens are signed with. */
  readonly certificate: string;
  /** The scopes of every token that was given out, in order. */
  readonly given: string[][];
  /** How long tokens are good for, and how long the answer says they are; in seconds. */
  life: number;
  claimedLife: number;
  stop(): void;
}

export interface TokenUser {
  readonly username: string;
  readonly password: string;
  /** Takes the place of both. */
  readonly identityToken: string;
}

/** What docker-registry lets a token outlive its time, in seconds (registry/auth/token, Leeway). */
const LEEWAY = 60;

/**
 * The token server of a registry: distribution.github.io, spec/auth/token and spec/auth/oauth. Anybody may pull from
 * repositories under `public/`; the user may do everything.
 */
export async function startTokenServer(folder: string, user: TokenUser): Promise<TokenServer> {
  const [key, certificate] = [join(folder, 'token.key'), join(folder, 'token.crt')];
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=tests'];
  await output('openssl', [...request, '-keyout', key, '-out', certificate], 'apt-get install openssl');
  const [privateKey, pem] = await Promise.all([readFile(key, 'utf8'), readFile(certificate, 'utf8')]);
  const der = pem.replace(/-----[A-Z ]+-----|\s/g, '');

  const sign = (access: object[], life: number): string => {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: ISSUER,
      sub: 'somebody',
      aud: SERVICE,
      exp: now + life - LEEWAY,
      nbf: now - 2 * LEEWAY,
      iat: now,
      jti: randomUUID(),
      access,
    };
    const body = [{ alg: 'RS256', typ: 'JWT', x5c: [der] }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    return `${body}.${createSign('RSA-SHA256').update(body).sign(privateKey, 'base64url')}`;
  };

  const server = createServer((incoming, answer) => {
    void (async () => {
      const { scopes, isUser, isWrong } = await understand(incoming, user);
      if (isWrong) {
        answer.writeHead(401, { 'content-type': 'application/json' });
        answer.end('{"errors":[{"code":"UNAUTHORIZED","message":"no such user"}]}');
        return;
      }
      state.given.push(scopes);
      const access = scopes.flatMap((scope) => {
        const [type, name = '', actions = ''] = scope.split(':');
        const allowed = actions
          .split(',')
          .filter((action) => isUser || (action === 'pull' && name.startsWith('public/')));
        return allowed.length === 0 ? [] : [{ type, name, actions: allowed }];
      });
      answer.writeHead(200, { 'content-type': 'application/json' });
      answer.end(JSON.stringify({ token: sign(access, state.life), expires_in: state.claimedLife }));
    })();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = address !== null && typeof address !== 'string' ? address.port : 0;
  const state: TokenServer = {
    realm: `http://127.0.0.1:${port}/token`,
    certificate,
    given: [],
    life: 300,
    claimedLife: 300,
    stop: () => server.close().closeAllConnections(),
  };
  return state;
}

async function understand(incoming: IncomingMessage, user: TokenUser) {
  if (incoming.method === 'POST') {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    const isUser = form.get('grant_type') === 'refresh_token' && form.get('refresh_token') === user.identityToken;
    return { scopes: (form.get('scope') ?? '').split(' '), isUser, isWrong: !isUser };
  }
  const scopes = new URL(incoming.url ?? '', 'http://tests').searchParams.getAll('scope');
  const { authorization } = incoming.headers;
  const expected = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString('base64')}`;
  const isUser = authorization === expected;
  return { scopes, isUser, isWrong: authorization !== undefined && !isUser };
}
